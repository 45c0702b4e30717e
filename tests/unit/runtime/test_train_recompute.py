"""Activations that do not fit are computed anew in the backward pass of real trainings, at every ZeRO stage."""

from __future__ import annotations

from typing import Any

import pytest

from support.rank_patches import CALLS, counting_layers, without_memory
from support.train_ranks import train
from support.train_world import TrainWorld


@pytest.mark.parametrize(
    ("stage", "dropout"),
    [(2, 0.0), (3, 0.3), *(pytest.param(*case, marks=pytest.mark.long) for case in [(0, 0.0), (3, 0.0), (2, 0.3)])],
)
def test_recomputed_activations_leave_the_same_weights(stage: int, dropout: float, world: TrainWorld) -> None:
    settings: dict[str, Any] = {"zeroStage": stage}
    if dropout:
        settings["lora"] = {"rank": 4, "alpha": 8.0, "dropout": dropout}
    name = f"recompute-{stage}-{dropout:g}".replace(".", "-")
    calls, weights = [], []
    for kind, prepare in (("kept", counting_layers), ("anew", without_memory)):
        ended = train(world, world.config(f"{name}-{kind}", **settings), patched=prepare)
        assert ended.manifest is not None, ended.outcomes
        weights.append(ended.weights)
        calls.append(int((world.folder / f"{CALLS}-0").read_text()))
    assert weights[0] == weights[1]
    assert calls[1] > calls[0]
