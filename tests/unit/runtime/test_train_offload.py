"""Training state in the host's memory: the same training to rounding, and to the bit where no gradient is clipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from selm_runtime.contract import PhaseConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train.engine import deepspeed_config
from support.phase_configs import phase_config
from support.train_ranks import train
from support.train_world import TrainWorld

OPTIMIZER, BOTH, PARAMETERS = (
    {"optimizer": "CPU"},
    {"optimizer": "CPU", "parameters": "CPU"},
    {"parameters": "CPU"},
)
CASES = [
    pytest.param(3, BOTH, id="both"),
    *(pytest.param(stage, OPTIMIZER, id=f"optimizer-{stage}", marks=pytest.mark.long) for stage in (1, 2, 3)),
    pytest.param(3, PARAMETERS, id="parameters", marks=pytest.mark.long),
]


def weights(world: TrainWorld, config: PhaseConfig, into: Path) -> dict[str, Tensor]:
    return load_file(world.model(config, into) / "model.safetensors")


@pytest.mark.parametrize(("stage", "offload"), CASES)
def test_where_no_gradient_is_clipped_offloading_changes_no_bit(
    stage: int, offload: dict[str, str], world: TrainWorld, request: pytest.FixtureRequest
) -> None:
    name, settings = request.node.callspec.id, {"zeroStage": stage, "maxGradNorm": 0.0}
    held = train(world, world.config(f"held-{name}", **settings))
    moved = train(world, world.config(f"moved-{name}", offload=offload, **settings))
    assert moved.weights == held.weights


@pytest.mark.parametrize(("stage", "offload"), CASES)
def test_clipping_differs_by_rounding_alone_and_a_resumed_training_not_at_all(
    stage: int, offload: dict[str, str], world: TrainWorld, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name, settings = request.node.callspec.id, {"zeroStage": stage, "maxGradNorm": 1.0}
    held, moved = world.config(f"clipped-{name}", **settings), world.config(f"both-{name}", offload=offload, **settings)
    for config in (held, moved):
        ended = train(world, config)
        assert ended.manifest is not None, ended.outcomes
        assert ended.manifest.metrics["gradNorm"] > 2.0  # far above the bound: every step is clipped
    theirs, ours = weights(world, held, tmp_path / "held"), weights(world, moved, tmp_path / "moved")
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in theirs) < 1e-4  # of updates of some 1e-3
    resumed = world.config(f"resumed-{name}", offload=offload, **settings)
    assert train(world, resumed, stop_after=2).codes == [75, 75]
    again = train(world, world.config(f"resumed-{name}", attempt=2, offload=offload, **settings))
    assert again.manifest is not None, again.outcomes
    assert again.manifest.content_digest == ended.manifest.content_digest


@pytest.mark.long
@pytest.mark.parametrize("first", [True, False], ids=["from the host", "to the host"])
@pytest.mark.parametrize("stage", [2, 3])
def test_a_training_goes_on_where_offloading_was_changed_while_it_was_suspended(
    stage: int, first: bool, world: TrainWorld
) -> None:
    offload = BOTH if stage == 3 else OPTIMIZER
    settings: dict[str, Any] = {"zeroStage": stage}
    undisturbed = train(world, world.config(f"undisturbed-{stage}-{first}", **settings))
    name, ways = f"changed-{stage}-{first}", (offload, {}) if first else ({}, offload)
    assert train(world, world.config(name, offload=ways[0], **settings), stop_after=2).codes == [75, 75]
    ended = train(world, world.config(name, attempt=2, offload=ways[1], **settings))
    assert ended.manifest is not None, ended.outcomes
    assert undisturbed.manifest is not None
    for metric in ("loss", "lossLast", "gradNorm"):
        expected = undisturbed.manifest.metrics[metric]
        assert ended.manifest.metrics[metric] == pytest.approx(expected, rel=1e-6, abs=1e-6), metric


@pytest.mark.parametrize(("stage", "field"), [(0, "optimizer"), (2, "parameters")])
def test_offloading_needs_what_partitions_it(stage: int, field: str) -> None:
    config = phase_config(training={"zeroStage": stage, "offload": {field: "CPU"}})
    with pytest.raises(InvalidInput, match=rf"offload\.{field}: found CPU with zeroStage {stage}"):
        deepspeed_config(config.training)


def test_nothing_is_offloaded_that_was_not_asked_for() -> None:
    plain = deepspeed_config(phase_config(training={"zeroStage": 3}).training)["zero_optimization"]
    assert not {"offload_optimizer", "offload_param"} & set(plain)
    moved = deepspeed_config(phase_config(training={"zeroStage": 3, "offload": PARAMETERS}).training)
    assert moved["zero_optimization"]["offload_param"] == {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    assert "offload_optimizer" not in moved["zero_optimization"]
