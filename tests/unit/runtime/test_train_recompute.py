"""Activations that do not fit are computed anew in the backward pass of real trainings, at every ZeRO stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.train_ranks import train
from support.train_world import TrainWorld

CALLS = "calls"


def without_memory(folder: Path, rank: int) -> None:
    """In a rank's process: nothing fits, and each forward pass of a decoder layer is counted."""
    from selm_runtime.train import model

    model.activation_budget = lambda *_: 0
    counting(folder, rank)


def counting(folder: Path, rank: int) -> None:
    """In a rank's process: each forward pass of a decoder layer is counted."""
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    forward, calls = LlamaDecoderLayer.forward, [0]

    def counted(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        (folder / f"{CALLS}-{rank}").write_text(str(calls[0]))
        return forward(*args, **options)

    LlamaDecoderLayer.forward = counted


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
    for kind, prepare in (("kept", counting), ("anew", without_memory)):
        ended = train(world, world.config(f"{name}-{kind}", **settings), patched=prepare)
        assert ended.manifest is not None, ended.outcomes
        weights.append(ended.weights)
        calls.append(int((world.folder / f"{CALLS}-0").read_text()))
    assert weights[0] == weights[1]
    assert calls[1] > calls[0]
