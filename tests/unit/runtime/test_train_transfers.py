"""The host reads figures of the device for several steps at once, and before anything is saved."""

from __future__ import annotations

import json

import pytest

from support.rank_patches import POISONED, counting_reads, poisoned
from support.train_ranks import train
from support.train_world import TrainWorld

NINE_STEPS = {"batchSize": 2, "learningRate": 1e-3}


@pytest.mark.parametrize("kind", ["SELM", "AlphaDPO"])
def test_the_host_reads_nothing_between_the_steps_that_are_read_together(kind: str, world: TrainWorld) -> None:
    objective = {"type": kind, "alpha": 0.5, "beta": 0.1}
    ended = train(
        world, world.config(f"reads-{kind}".lower(), objective=objective, **NINE_STEPS), patched=counting_reads
    )
    assert ended.manifest is not None, ended.outcomes
    assert ended.manifest.facts["steps"] == 9
    for rank in range(2):
        reads = [step for step, _ in json.loads((world.folder / f"reads-{rank}.json").read_text()) if step > 0]
        # After step 1 (the first one), 4 and 4 steps later; the file is written before the last reading.
        assert reads == [1, 5], reads


@pytest.mark.parametrize(
    ("stage", "asked"),
    [(0, False), (2, True), *(pytest.param(*case, marks=pytest.mark.long) for case in [(1, False), (3, False)])],
)
def test_no_state_that_the_guards_have_not_seen_is_saved(stage: int, asked: bool, world: TrainWorld) -> None:
    config = world.config(f"poisoned-{stage}", zeroStage=stage, **NINE_STEPS)
    stop = {"stop_after": POISONED + 1} if asked else {}
    ended = train(world, config, patched=poisoned, **stop)  # type: ignore[arg-type]
    assert ended.codes == [64, 64], ended.outcomes
    assert ended.manifest is None
    for outcome in ended.outcomes:
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error.reason == "NonFiniteLoss"
        assert f"at optimizer step {POISONED}" in outcome.error.message
    kept = world.stored(config, "checkpoints/")
    assert kept
    assert all(key.startswith("checkpoints/00000000/") for key in kept), kept
