"""What a rank holds at any moment of a training under ZeRO-3: its share, and a weight or two."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.rank_patches import PEAKS, measuring_memory
from support.train_ranks import train
from support.train_world import TrainWorld

WIDE = {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 6}
"""38 M parameters, the largest weight a twenty-third of them: large against what a rank holds whatever its share."""
pytestmark = pytest.mark.long  # of memory as the system counts it
Peaks = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> TrainWorld:
    return TrainWorld(tmp_path_factory.mktemp("memory") / "large", pairs=4, sizes=WIDE)


def weight_bytes(world: TrainWorld) -> int:
    return (world.folder / "base" / "model.safetensors").stat().st_size


def peaks(world: TrainWorld, name: str, ranks: int, **settings: Any) -> list[Peaks]:
    """By rank and stage: anonymous memory in bytes when it began, and the most."""
    for past in world.folder.glob(f"{PEAKS}-*"):
        past.unlink()
    ended = train(world, world.config(name, zeroStage=3, **settings), ranks=ranks, patched=measuring_memory)
    assert ended.codes == [0] * ranks, ended.outcomes
    found = [json.loads(path.read_text()) for path in sorted(world.folder.glob(f"{PEAKS}-*"))]
    assert len(found) == ranks
    return found


def added(peak: Peaks, stage: str) -> int:
    return peak[stage]["most"] - peak[stage]["begun"]


@pytest.mark.parametrize("offload", [{}, {"parameters": "CPU"}])
def test_no_rank_holds_the_model_while_it_is_loaded_trained_and_exported(
    offload: dict[str, str], large: TrainWorld
) -> None:
    whole = weight_bytes(large)
    for peak in peaks(large, f"two-{len(offload)}", 2, offload=offload):
        assert whole / 2 <= added(peak, "load") < 0.65 * whole
        assert added(peak, "reference") < 0.3 * whole
        assert added(peak, "export") < 0.3 * whole
        most = max(stage["most"] for stage in peak.values()) - peak["restore"]["begun"]
        state = 5 * whole  # weights, gradients, float32 weights and two moments, each of 4 bytes
        assert most < 0.7 * state


def test_nor_the_initial_model_which_is_gone_before_the_policy_comes(large: TrainWorld) -> None:
    whole = weight_bytes(large)  # the policy is tiny
    for peak in peaks(large, "initial", 2, iteration=2, reference="Initial"):
        assert whole / 2 <= added(peak, "after restore") < 0.75 * whole  # with what DeepSpeed holds besides
        assert added(peak, "reference") < 0.3 * whole
        assert peak["load"]["begun"] - peak["restore"]["begun"] < 0.2 * whole
