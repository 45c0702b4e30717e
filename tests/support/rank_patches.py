"""What a rank's process is changed with before it begins (`patched` of `train_ranks.train`).

Here and not beside the tests: the process gets the function by its module's name, and can import no test module.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
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
    from selm_runtime.train import model

    model.activation_budget = lambda *_: 0
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
