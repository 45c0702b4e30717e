"""What a rank's process is changed with before it begins (`patched` of `train_ranks.train`).

Here and not beside the tests: the process gets the function by its module's name, and can import no test module.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selm_runtime import faults

CALLS = "calls"
"""Begins the names of the files with each rank's count of forward passes of decoder layers."""
READS = ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__", "__index__")
EVERY = 4
"""Optimizer steps whose figures are read together, where a test counts readings."""
POISONED = 3
"""The optimizer step, from 1, whose gradient is no number."""


def without_memory(folder: Path, rank: int) -> None:
    """In a rank's process: nothing fits, and each forward pass of a decoder layer is counted."""
    from selm_runtime.train import memory

    memory.activation_budget = lambda *_: 0
    counting_layers(folder, rank)


def counting_layers(folder: Path, rank: int) -> None:
    """In a rank's process: each forward pass of a decoder layer is counted."""
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    forward, calls = LlamaDecoderLayer.forward, [0]

    def counted(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        (folder / f"{CALLS}-{rank}").write_text(str(calls[0]))
        return forward(*args, **options)

    LlamaDecoderLayer.forward = counted


def rarely() -> None:
    from selm_runtime.train import transfers

    transfers.READ_STEPS, transfers.READ_SECONDS = EVERY, 1e9


def counting_reads(folder: Path, rank: int) -> None:
    """In a rank's process: note each read of a tensor's value by our code, with the step in which it came."""
    import torch

    rarely()
    seen: list[tuple[int, str]] = []
    step = [0]

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(torch.Tensor, name)

        def read(self: Any, *args: Any, **options: Any) -> Any:
            caller = sys._getframe(1).f_code
            # `_reduce` is of `Ranks`: flags of the host's own, through the group of the host
            if "selm_runtime/train" in caller.co_filename and caller.co_name != "_reduce":
                seen.append((step[0], caller.co_name))
            return original(self, *args, **options)

        return read

    for name in READS:
        setattr(torch.Tensor, name, counted(name))
    reach = faults.reach

    def reached(point: str, n: int = 1) -> None:
        reach(point, n)
        if point == "step-done":
            step[0] = n
            (folder / f"reads-{rank}.json").write_text(json.dumps(seen))

    faults.reach = reached


def poisoned(folder: Path, rank: int) -> None:
    from selm_runtime.train.checkpoint import Checkpointer
    from selm_runtime.train.engine import Engine

    rarely()
    step = [1]
    backward, advance = Engine.backward, Engine.step

    def spoiled(self: Engine, loss: Any) -> None:
        backward(self, loss * float("nan") if step[0] == POISONED else loss)

    def advanced(self: Engine, learning_rate: float) -> Any:
        result = advance(self, learning_rate)
        step[0] += 1
        return result

    Engine.backward, Engine.step = spoiled, advanced  # type: ignore[method-assign]
    # A checkpoint is due once the poisoned step is two steps old, and would not have been read otherwise.
    Checkpointer.due = property(lambda self: self._ranks.is_first and step[0] > POISONED + 1)  # type: ignore[assignment,method-assign]


def ending_after_one_step(_folder: Path, _rank: int) -> None:
    """In a rank's process: small buffers of a fixed size, and no export, whose bytes would take longer than the step."""
    from selm_runtime.train import engine

    engine.BUCKET_ELEMENTS = 1_000_000
    reach = faults.reach

    def reach_and_end(point: str, n: int = 1) -> None:
        if point == "step-done":
            ctypes.CDLL(None).malloc_trim(0)  # what was freed, as each rank's copy of all weights, is not held
        reach(point, n)
        if point == "step-done":
            os._exit(0)

    faults.reach = reach_and_end


PEAKS = "peaks"
"""Begins the names of the files with each rank's anonymous memory by stage of the training, in bytes."""


def measuring_memory(folder: Path, rank: int) -> None:
    """In a rank's process: what a stage begins with and the most that is held in it, beside pages of mapped files.

    All buffers of a fixed size are small. What is freed goes back to the system at once.
    """
    from selm_runtime.train import engine, export, weight_files
    from selm_runtime.train.surroundings import Surroundings

    ctypes.CDLL(None).mallopt(-3, 1 << 18)  # M_MMAP_THRESHOLD, which would grow by itself
    engine.BUCKET_ELEMENTS = engine.LIVE_ELEMENTS = export.GATHER_ELEMENTS = 1_000_000
    weight_files.FILE_BYTES = 10_000_000
    begun: dict[str, int] = {}
    most: dict[str, int] = {}
    at = ["start"]

    def enter(stage: str) -> None:
        ctypes.CDLL(None).malloc_trim(0)
        begun[stage] = most[stage] = _anonymous()
        at[0] = stage

    def watch() -> None:
        while True:
            stage, now = at[0], _anonymous()
            most[stage] = max(most.get(stage, 0), now)
            time.sleep(0.001)

    threading.Thread(target=watch, daemon=True).start()
    original = Surroundings.stage

    @contextmanager
    def stage(self: Surroundings, name: str) -> Iterator[None]:
        enter(name)
        with original(self, name):
            yield
        enter(f"after {name}")
        found = {name: {"begun": begun[name], "most": most[name]} for name in begun}
        (folder / f"{PEAKS}-{rank}.json").write_text(json.dumps(found))

    Surroundings.stage = stage  # type: ignore[method-assign]


def _anonymous() -> int:
    """Bytes that this process holds for itself: not the mapped files' pages, which all ranks share."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def with_plain_descent(_folder: Path, _rank: int) -> None:
    """In a rank's process: w - rate g instead of AdamW, so that a step's update is its gradient and nothing else."""
    import torch

    from selm_runtime.train import engine

    config = engine.deepspeed_config
    engine.deepspeed_config = lambda training: {**config(training), "zero_allow_untested_optimizer": True}
    engine.optimizer_of = lambda module, training: torch.optim.SGD(
        [parameter for parameter in module.parameters() if parameter.requires_grad], lr=training.learning_rate
    )
