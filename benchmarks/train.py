"""How fast does this trainer train, and in how much memory, beside what one would use instead?

    python benchmarks/train.py                            CPU: a 30 M model, 48 pairs, batch 8, three rounds
    python benchmarks/train.py --preset 135m --pairs 16
    python benchmarks/train.py --device cuda --preset 1b --bf16 --pairs 512 --micro-tokens 16384

Contenders, each in a process of its own, all of them in turn in every round, on the same model, data, number format,
optimizer (fused AdamW) and pairs a step:

    ours-dpo       this trainer at alpha = 0, its reference pass inside the clock
    trl-default    TRL's DPOTrainer at its defaults
    trl-grouped    TRL with precomputed references (inside the clock), batches grouped by length, no checkpointing
    trl-split      the same with one pair at a time and accumulated gradients: the least padding it can be given
    ours-selm      this trainer with the optimism term
    padded-selm    SELM as its published code trains it: three padded rows, reference inline, full logits

First it checks that the contenders' log-probs, losses and gradients agree on the first batch. Figures are medians over
rounds; beside each ratio stands the one that the products alone would give (`train_arithmetic.py`). Needs
requirements/bench.lock; ours alone (`--only ours-dpo ours-selm --no-check`) does without it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import train_arithmetic
import train_world
from train_world import Settings

CONTENDERS = ("ours-dpo", "trl-default", "trl-grouped", "trl-split", "ours-selm", "padded-selm")
TRL = ("trl-default", "trl-grouped", "trl-split")
ENVIRONMENT = {"THP_MEM_ALLOC_ENABLE": "1", "TOKENIZERS_PARALLELISM": "false", "DS_ACCELERATOR": "cpu"}
"""Equal for all contenders; huge pages are what this project's launcher asks for."""
MFU = (
    "MFU = useful FLOPs / (seconds x peak). Useful: 6 x decoder parameters x distinct tokens + 6 x head parameters x "
    "response tokens + causal attention, for the training step, and a third of it for the reference pass. Padding, "
    "repeated prompts and recomputed activations do not count. 0: a device whose peak is not known."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(train_world.PRESETS), default="30m")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--micro-tokens", type=int, default=1024, help="ours: tokens a micro-batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--zero-stage", type=int, choices=range(4), default=3, help="ours; 3 is the product's default")
    parser.add_argument(
        "--compile", action="store_true", help="ours with compiled layers (needs --zero-stage 2 or less)"
    )
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--no-check", action="store_true", help="leave the agreement check out: no comparison then")
    parser.add_argument("--prefix", default="", help="words before each contender's command, such as taskset -c 0")
    parser.add_argument("--json", type=Path, help="where to write every measurement")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        contend(options.contender, options.work)
        return
    if options.pairs % (2 * options.batch_size):
        parser.error(f"--pairs: found {options.pairs}; allowed are multiples of twice --batch-size")
    if options.compile and options.zero_stage > 2:
        parser.error(f"--compile: found with --zero-stage {options.zero_stage}; allowed with 0 to 2")
    settings = Settings(
        preset=options.preset,
        pairs=options.pairs,
        batch_size=options.batch_size,
        max_tokens_per_micro_batch=options.micro_tokens,
        threads=options.threads,
        device=options.device,
        bf16=options.bf16,
        zero_stage=options.zero_stage,
        compile=options.compile,
    )
    with tempfile.TemporaryDirectory(prefix="selm-bench-") as folder:
        work = Path(folder)
        train_world.prepare(settings, work)
        describe(settings, work)
        if not options.no_check:
            print(
                "agreement on the first batch, relative:",
                start("agreement", work, settings, options.prefix)["found"],
                flush=True,
            )
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
        for number in range(options.rounds):
            for name in options.only:
                measured = start(name, work, settings, options.prefix)
                measured["load"] = os.getloadavg()[0]
                runs[name].append(measured)
                print(f"round {number + 1} {name}: {words(measured)}", flush=True)
        if options.json:
            options.json.write_text(json.dumps({"settings": vars(settings), "runs": runs}, indent=1))
        report(runs, settings, work)


def contend(name: str, work: Path) -> None:
    """In the contender's own process."""
    settings = train_world.set_up(work)
    if name == "agreement":
        import train_agreement

        print(json.dumps({"found": train_agreement.main(work, settings)}))
    elif name.startswith("ours"):
        import train_ours

        train_ours.run(work, settings, alpha=settings.alpha if name == "ours-selm" else 0.0, name=name).print()
    elif name.startswith("trl"):
        import train_trl

        train_trl.run(work, settings, variant=name.removeprefix("trl-"), name=name).print()
    else:
        import train_padded

        train_padded.run(work, settings, name=name).print()


def start(name: str, work: Path, settings: Settings, prefix: str) -> dict[str, Any]:
    """Run a contender's process; what it printed last."""
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(settings.threads), "TQDM_DISABLE": "1"}
    if settings.device == "cuda":
        environment.pop("DS_ACCELERATOR")
    else:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [*prefix.split(), sys.executable, __file__, "--contender", name, "--work", str(work)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed with {done.returncode}:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def describe(settings: Settings, work: Path) -> None:
    pairs = train_world.read_pairs(work)
    padded = sum(
        2 * len(batch) * max(len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in batch)
        for batch in (pairs[i : i + settings.batch_size] for i in range(0, len(pairs), settings.batch_size))
    )
    body, head = train_world.body_and_head(work)
    print(
        f"{settings.preset}: {body / 1e6:.1f} M in the decoder's matrices, {head / 1e6:.1f} M in the (tied) head; "
        f"{len(pairs)} pairs, batch {settings.batch_size}; tokens a pair: "
        f"{sum(p.distinct_tokens for p in pairs) / len(pairs):.0f} distinct, "
        f"{sum(len(p.prompt) + p.distinct_tokens for p in pairs) / len(pairs):.0f} with the prompt twice, "
        f"{padded / len(pairs):.0f} padded; {settings.threads} threads, {settings.device}, "
        f"{'bf16' if settings.bf16 else 'float32'}",
        flush=True,
    )


def words(measured: dict[str, Any]) -> str:
    return (
        f"{rate(measured):.3f} pairs/s, {rate(measured, 'cpu_'):.3f} pairs a processor second, "
        f"{measured['peak_bytes'] / 1e9:.2f} GB (reference {measured['reference_seconds']:.0f} s, steps "
        f"{measured['step_seconds']:.0f} s, load {measured['load']:.1f}; {measured['notes']})"
    )


def rate(measured: dict[str, Any], kind: str = "") -> float:
    """Pairs a second, the reference's work included."""
    seconds = measured[f"reference_{kind}seconds"] + measured[f"step_{kind}seconds"]
    return float(measured["pairs"] / seconds)


def report(runs: dict[str, list[dict[str, Any]]], settings: Settings, work: Path) -> None:
    """Medians, and the ratios that the documentation quotes."""
    wall = {name: statistics.median(rate(run) for run in found) for name, found in runs.items()}
    cpu = {name: statistics.median(rate(run, "cpu_") for run in found) for name, found in runs.items()}
    memory = {name: statistics.median(run["peak_bytes"] for run in found) for name, found in runs.items()}
    print(f"\n{'':14}{'pairs/s':>10}{'per CPU s':>11}{'peak GB':>9}")
    for name in runs:
        print(f"{name:14}{wall[name]:10.3f}{cpu[name]:11.3f}{memory[name] / 1e9:9.2f}")
    if settings.device == "cuda":
        print_mfu(runs, settings, work)
    best = max((name for name in TRL if name in wall), key=lambda name: cpu[name], default="")
    products = train_arithmetic.allowed(work, settings)
    for ours, other, what in (
        ("ours-dpo", "trl-default", "(1) DPO against TRL's defaults"),
        ("ours-dpo", best, f"(2) DPO against TRL at its best ({best})"),
        ("ours-selm", "padded-selm", "(3) SELM against three padded rows"),
    ):
        if ours in wall and other in wall:
            print(
                f"{what}: {wall[ours] / wall[other]:.2f}x pairs/s, {cpu[ours] / cpu[other]:.2f}x in processor time, "
                f"{memory[ours] / memory[other]:.2f}x memory; products alone: {products[other] / products[ours]:.2f}x"
            )


def print_mfu(runs: dict[str, list[dict[str, Any]]], settings: Settings, work: Path) -> None:
    import torch

    from selm_runtime.train.throughput import peak_of

    device = torch.cuda.get_device_name()
    peak = (peak_of(device) or 0.0) if settings.bf16 else 0.0
    for name, found in runs.items():
        flops = useful_flops(work, explored="selm" in name)
        mfu = statistics.median(
            flops / (run["reference_seconds"] + run["step_seconds"]) / peak if peak else 0.0 for run in found
        )
        print(f"{name}: MFU {100 * mfu:.1f} % on {device}")
    print(MFU)


def useful_flops(work: Path, *, explored: bool) -> float:
    """Of one epoch with its reference pass, by the definition of `MFU`."""
    from transformers import AutoConfig

    from selm_runtime.train.throughput import Lengths, Shape, training_flops

    config = AutoConfig.from_pretrained(work / "model")
    body, head = train_world.body_and_head(work)
    shape = Shape.of(config, body + head)
    assert shape is not None
    lengths = []
    for pair in train_world.read_pairs(work):
        responses = [pair.chosen, pair.rejected, pair.explored][: 3 if explored else 2]
        lengths.append(
            Lengths(len(pair.prompt), tuple(map(len, {tuple(response): response for response in responses})))
        )
    return training_flops(shape, lengths) * 4 / 3


if __name__ == "__main__":
    main()
