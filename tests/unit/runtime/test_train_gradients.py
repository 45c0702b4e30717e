"""Real ranks under DeepSpeed accumulate the gradient of a trainer of a few plain lines, to 1e-6 of its size in float32.

One optimizer step of plain descent at a rate so high that the weights are the gradient: AdamW's first steps divide by the
gradient's size, and so magnify the rounding of its smallest parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from selm_runtime.train.data import bring_pairs
from selm_runtime.train.pairs import PairTable
from support.plain_training import plain_losses
from support.rank_patches import with_plain_descent
from support.train_ranks import train
from support.train_world import TrainWorld

PAIRS = 8
RATE = float(2**30)
"""Next to it the weights that the step begins with are lost in rounding."""
ONE_STEP = {
    "batchSize": PAIRS,
    "learningRate": RATE,
    "lrScheduler": "Constant",
    "warmupRatio": 0.0,
    "maxGradNorm": 0.0,
}


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> TrainWorld:
    return TrainWorld(tmp_path_factory.mktemp("gradients"), pairs=PAIRS)


@pytest.fixture(scope="module")
def plain(eight: TrainWorld) -> Tensor:
    """Of plain transformers, one sequence at a time."""
    config = eight.config("plain", **ONE_STEP)
    file = eight.folder / "plain.parquet"
    bring_pairs(eight.phase_folder(config), eight.folder / "base", file)
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(eight.folder / "base", dtype=torch.float32) for _ in range(2)
    )
    pairs = PairTable(file, explored=True)
    torch.stack(plain_losses(policy, reference, pairs.values(), config.training.objective)).mean().backward()
    return torch.cat([p.grad.flatten() for _, p in sorted(policy.named_parameters()) if p.grad is not None]).double()


def gradient(world: TrainWorld, name: str, into: Path, *, ranks: int, **settings: Any) -> Tensor:
    config = world.config(name, **{**ONE_STEP, **settings})
    ended = train(world, config, ranks=ranks, patched=with_plain_descent)
    assert ended.codes == [0] * ranks, ended.outcomes
    trained = dict(AutoModelForCausalLM.from_pretrained(world.model(config, into)).named_parameters())
    before = dict(AutoModelForCausalLM.from_pretrained(world.folder / "base").named_parameters())
    moved = [(before[name].double() - trained[name].double()).flatten() / RATE for name in sorted(before)]
    return torch.cat(moved).detach()


@pytest.mark.parametrize(
    ("stage", "ranks", "tokens"),
    [
        (2, 2, 60),
        (3, 2, 10_000),
        *(
            pytest.param(stage, ranks, tokens, marks=pytest.mark.long)
            for stage in (0, 1, 2, 3)
            for ranks in (1, 2, 4)
            for tokens in (1, 60, 10_000)
            if (stage, ranks, tokens) not in ((2, 2, 60), (3, 2, 10_000))
        ),
    ],
)
def test_ranks_stages_and_micro_batches_leave_the_gradient_as_it_is(
    stage: int, ranks: int, tokens: int, eight: TrainWorld, plain: Tensor, tmp_path: Path
) -> None:
    name = f"stage-{stage}-ranks-{ranks}-tokens-{tokens}"
    found = gradient(eight, name, tmp_path / "model", ranks=ranks, zeroStage=stage, maxTokensPerMicroBatch=tokens)
    assert float((found - plain).norm() / plain.norm()) < 1e-6


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.long), 0.3])
def test_adapters_and_their_dropout_leave_it_as_it_is(dropout: float, eight: TrainWorld, tmp_path: Path) -> None:
    """Masks go with the pair and the step. What moves the merged weights is A times the gradient of B, which begins at 0."""
    settings = {"lora": {"rank": 4, "alpha": 8.0, "dropout": dropout}, "zeroStage": 2}
    two = gradient(eight, f"two-{dropout}", tmp_path / "two", ranks=2, maxTokensPerMicroBatch=10_000, **settings)
    one = gradient(eight, f"one-{dropout}", tmp_path / "one", ranks=1, maxTokensPerMicroBatch=1, **settings)
    assert float(two.norm()) > 0
    assert float((two - one).norm() / two.norm()) < 1e-6
