"""The host reads figures of the device for several steps at once, and before anything is saved."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selm_runtime import faults
from support.train_ranks import train
from support.train_world import TrainWorld

READS = ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__", "__index__")
EVERY = 4
NINE_STEPS = {"batchSize": 2, "learningRate": 1e-3}
POISONED = 3
"""The optimizer step, from 1, whose gradient is no number."""


def rarely() -> None:
    from selm_runtime.train import transfers

    transfers.READ_STEPS, transfers.READ_SECONDS = EVERY, 1e9


def count_reads(folder: Path, rank: int) -> None:
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


@pytest.mark.parametrize("kind", ["SELM", "AlphaDPO"])
def test_the_host_reads_nothing_between_the_steps_that_are_read_together(kind: str, world: TrainWorld) -> None:
    objective = {"type": kind, "alpha": 0.5, "beta": 0.1}
    ended = train(world, world.config(f"reads-{kind}".lower(), objective=objective, **NINE_STEPS), patched=count_reads)
    assert ended.manifest is not None, ended.outcomes
    assert ended.manifest.facts["steps"] == 9
    for rank in range(2):
        reads = [step for step, _ in json.loads((world.folder / f"reads-{rank}.json").read_text()) if step > 0]
        # After step 1 (the first one), 4 and 4 steps later; the file is written before the last reading.
        assert reads == [1, 5], reads


def poison(folder: Path, rank: int) -> None:
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


@pytest.mark.parametrize(
    ("stage", "asked"),
    [(0, False), (2, True), *(pytest.param(*case, marks=pytest.mark.long) for case in [(1, False), (3, False)])],
)
def test_no_state_that_the_guards_have_not_seen_is_saved(stage: int, asked: bool, world: TrainWorld) -> None:
    config = world.config(f"poisoned-{stage}", zeroStage=stage, **NINE_STEPS)
    stop = {"stop_after": POISONED + 1} if asked else {}
    ended = train(world, config, patched=poison, **stop)  # type: ignore[arg-type]
    assert ended.codes == [64, 64], ended.outcomes
    assert ended.manifest is None
    for outcome in ended.outcomes:
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error.reason == "NonFiniteLoss"
        assert f"at optimizer step {POISONED - 1}" in outcome.error.message
    kept = world.stored(config, "checkpoints/")
    assert kept
    assert all(key.startswith("checkpoints/00000000/") for key in kept), kept
