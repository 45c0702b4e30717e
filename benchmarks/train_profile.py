"""Where does a training step's time go? Forward pass, backward pass and AdamW on the longest pair, by kind of operation.

    python benchmarks/train_profile.py                 CPU, one thread: the 30 M model in float32
    python benchmarks/train_profile.py --preset 135m

torch.profiler's own time of each operator, on the trainer's packing, attention, head and objective, without DeepSpeed:
its hooks are no operators.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import train_ours
import train_world
from selm_runtime.train import model
from selm_runtime.train.engine import dtype_of, optimizer_of
from selm_runtime.train.objectives import in_force, objective_of
from selm_runtime.train.packing import pack

KINDS = {
    "matrix products": r"aten::(mm|addmm|bmm|linear|matmul)",
    "attention": r"scaled_dot_product|flash_attention|efficient_attention",
    "softmax over the vocabulary": r"softmax|logsumexp|aten::exp_?$|aten::gather|aten::scatter",
    "AdamW": r"adam",
}
"""By a pattern in an operator's name, the first that fits; the rest are norms, rotary angles, SwiGLU, residuals and copies."""
PASSES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(train_world.PRESETS), default="30m")
    parser.add_argument("--pairs", type=int, default=16)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = train_world.Settings(preset=given.preset, pairs=given.pairs)
    with tempfile.TemporaryDirectory(prefix="selm-bench-") as folder:
        work = Path(folder)
        train_world.prepare(settings, work)
        for name, alpha in (("DPO", 0.0), ("SELM", settings.alpha)):
            report(name, measure(work, settings, alpha))


def measure(work: Path, settings: train_world.Settings, alpha: float) -> tuple[int, Any]:
    """Tokens of the pack, and the profiler's averages over `PASSES` steps."""
    config, explored = train_ours.phase_config(work, settings, alpha, work), alpha != 0.0
    policy = model.load(work / "model", dtype=dtype_of(config.training), max_length=train_world.MAX_LENGTH).train()
    optimizer = optimizer_of(policy, config.training)
    pairs = train_ours.numbered(train_world.read_pairs(work), explored=explored)
    batch = pack([max(pairs.values(), key=lambda pair: pair.tokens)], explored=explored)
    with torch.no_grad():
        constants = batch.sums(policy(batch))
    objective, in_use = objective_of(config), in_force(config)

    def step() -> None:
        record = batch.record(objective, batch.sums(policy(batch)), constants, None)
        objective.evaluate(record, in_use).losses.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(PASSES):
            step()
    return batch.tokens, found.key_averages()


def report(name: str, measured: tuple[int, Any]) -> None:
    tokens, events = measured
    shares: dict[str, float] = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for event in events:
        kind = next((k for k, pattern in KINDS.items() if re.search(pattern, event.key.lower())), "the rest")
        shares[kind] += event.self_cpu_time_total
    whole = sum(shares.values())
    print(f"{name}: a step over {tokens} tokens, {whole / PASSES / 1e6:.2f} s")
    for kind, microseconds in shares.items():
        print(f"    {kind:30}{100 * microseconds / whole:5.1f} %")


if __name__ == "__main__":
    main()
