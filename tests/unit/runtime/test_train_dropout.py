"""Dropout before the adapters: masks are a function of step, pair and module, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import LoraConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train import lora
from selm_runtime.train import model as models
from selm_runtime.train.dropout import Masks, SharedDropout
from selm_runtime.train.job import REFERENCE_FILE
from selm_runtime.train.model import ResponseLogProbs
from selm_runtime.train.packing import PackedBatch, PackSizes, pack
from support.train_adapters import adapted, trained
from support.train_pairs import make_pairs
from support.train_ranks import train
from support.train_world import TrainWorld

SETTINGS = LoraConfig(rank=4, alpha=8.0, dropout=0.3)
PAIRS = make_pairs(6)


def dropping(tiny: Path, *, seed: int = 7) -> tuple[ResponseLogProbs, Masks]:
    """An adapted policy whose adapters have been trained for some steps, and its masks."""
    policy, masks = trained(adapted(tiny, SETTINGS)), Masks(seed, 1)
    lora.add_dropout(policy, SETTINGS, masks)
    return policy.train(), masks


def sums_of(policy: ResponseLogProbs, masks: Masks, batch: PackedBatch, step: int = 0) -> Tensor:
    masks.of(step, batch)
    sums: Tensor = policy(batch)
    return sums


def gradients(policy: ResponseLogProbs) -> list[Tensor]:
    return [parameter.grad for parameter in policy.parameters() if parameter.grad is not None]


def test_a_share_of_each_input_is_hidden_and_the_mean_is_kept() -> None:
    batch = pack(PAIRS, explored=True)
    masks = Masks(7, 1)
    masks.of(3, batch)
    width = 512
    x = torch.ones(1, batch.tokens, width)
    dropped = SharedDropout(masks, "a", 0.3)(x)
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    other = SharedDropout(masks, "b", 0.3)(x)
    assert not torch.equal(dropped, other)
    masks.of(4, batch)
    assert not torch.equal(dropped, SharedDropout(masks, "a", 0.3)(x))
    masks.of(3, batch)
    torch.manual_seed(99)
    assert torch.equal(dropped, SharedDropout(masks, "a", 0.3)(x))
    assert torch.equal(SharedDropout(masks, "a", 0.3).eval()(x), x)


def test_a_pairs_mask_is_the_same_wherever_the_pair_lies_and_whoever_is_with_it() -> None:
    masks = Masks(7, 1)
    drop = SharedDropout(masks, "a", 0.5)

    def mask_of(row: int, batch: PackedBatch) -> Tensor:
        masks.of(0, batch)
        segment = batch.segments[batch.rows.index(row)]
        whole = drop(torch.ones(1, batch.tokens, 33))[0]
        return whole[segment.start : segment.start + segment.length]

    alone = {pair.row: mask_of(pair.row, pack([pair], explored=True)) for pair in PAIRS}
    for together in (PAIRS, PAIRS[::-1], PAIRS[2:5]):
        for pair in together:
            assert torch.equal(mask_of(pair.row, pack(together, explored=True)), alone[pair.row])
    a, b = alone[PAIRS[0].row], alone[PAIRS[1].row]
    shorter = min(len(a), len(b))
    assert not torch.equal(a[:shorter], b[:shorter])


def test_the_tail_of_a_pack_has_no_mask_but_zeros() -> None:
    batch, masks = pack(PAIRS, explored=True), Masks(7, 1)
    like = torch.ones(1, batch.tokens, 16)
    masks.of(3, batch)
    expected = masks.draw(like, "a", 0.3)
    filled = batch.filled(PackSizes(batch.tokens + 5))
    masks.of(3, filled)
    drawn = masks.draw(torch.ones(1, filled.tokens, 16), "a", 0.3)
    assert torch.equal(drawn[: batch.tokens], expected)
    assert torch.equal(drawn[batch.tokens :], torch.zeros(5, 16))


def test_losses_and_gradients_do_not_depend_on_micro_batches(tiny: Path) -> None:
    found = []
    for cut in (1, 4, 6):
        policy, masks = dropping(tiny)
        sums = []
        for first in range(0, len(PAIRS), cut):
            batch = pack(PAIRS[first : first + cut], explored=True)
            own = batch.sums(sums_of(policy, masks, batch, step=2))
            sums.append(own.chosen - own.rejected)
            sums[-1].sum().backward()
        found.append((torch.cat(sums).detach(), torch.cat([grad.flatten() for grad in gradients(policy)])))
    for values, grads in found[1:]:
        for one, other in ((values, found[0][0]), (grads, found[0][1])):
            difference = float((one.double() - other.double()).norm() / other.double().norm())
            assert difference < 1e-6


def test_recomputed_activations_have_the_same_masks(tiny: Path) -> None:
    batch = pack(PAIRS, explored=True)
    found = []
    for recompute in (False, True):
        policy, masks = dropping(tiny)
        if recompute:
            assert models.enable_checkpointing_if_needed(policy, batch.tokens, 0)
        sums_of(policy, masks, batch).sum().backward()
        found.append(gradients(policy))
    assert len(found[0]) == len(found[1]) > 0
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_only_training_sees_masks_and_a_new_adapter_says_what_the_base_says_even_then(tiny: Path) -> None:
    batch = pack(PAIRS, explored=True)
    policy, masks = dropping(tiny)
    whole = trained(adapted(tiny, LoraConfig(rank=4, alpha=8.0)))(batch)
    assert not torch.allclose(sums_of(policy, masks, batch), whole, atol=1e-3)
    with models.evaluating(policy):
        assert torch.equal(policy(batch), whole)
    assert all(module.training for module in policy.modules())

    new, masks = adapted(tiny, SETTINGS), Masks(7, 1)
    lora.add_dropout(new, SETTINGS, masks)
    base = models.load(tiny, dtype=torch.float32, max_length=64)
    assert torch.equal(sums_of(new.train(), masks, batch), base(batch))


def test_without_dropout_nothing_is_put_before_the_adapters(tiny: Path) -> None:
    policy = adapted(tiny)
    before = [type(module) for module in policy.modules()]
    lora.add_dropout(policy, LoraConfig(), Masks(7, 1))
    assert [type(module) for module in policy.modules()] == before


def test_a_module_that_not_every_token_passes_is_refused() -> None:
    masks = Masks(7, 1)
    masks.of(0, pack(PAIRS, explored=True))
    with pytest.raises(InvalidInput, match=r"dropout: experts\.0 is given 3 of the"):
        SharedDropout(masks, "experts.0", 0.1)(torch.ones(3, 8))


def settings(dropout: float, **more: Any) -> dict[str, Any]:
    return {"lora": {"rank": 4, "alpha": 8.0, "dropout": dropout}, "learningRate": 1e-2, **more}


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.long)])
def stage(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def whole(stage: int, world: TrainWorld) -> Manifest:
    """What two ranks commit that nobody disturbed."""
    ended = train(world, world.config(f"dropout-{stage}", **settings(0.3, zeroStage=stage)))
    assert ended.manifest is not None, ended.outcomes
    return ended.manifest


def test_a_resumed_training_ends_as_the_undisturbed_one(stage: int, whole: Manifest, world: TrainWorld) -> None:
    name = f"dropout-resumed-{stage}"
    assert train(world, world.config(name, **settings(0.3, zeroStage=stage)), stop_after=2).codes == [75, 75]
    ended = train(world, world.config(name, attempt=2, **settings(0.3, zeroStage=stage)))
    assert ended.manifest is not None, ended.outcomes
    assert ended.manifest.content_digest == whole.content_digest


@pytest.mark.long
def test_the_reference_is_that_of_a_training_without_dropout(stage: int, whole: Manifest, world: TrainWorld) -> None:
    plain = train(world, world.config(f"plain-{stage}", **settings(0.0, zeroStage=stage)))
    assert plain.manifest is not None, plain.outcomes
    assert plain.manifest.content_under(REFERENCE_FILE) == whole.content_under(REFERENCE_FILE)
    assert abs(plain.manifest.metrics["lossLast"] - whole.metrics["lossLast"]) > 1e-3


@pytest.mark.long
def test_one_rank_with_small_micro_batches_draws_the_same_masks(stage: int, whole: Manifest, world: TrainWorld) -> None:
    one = train(world, world.config(f"dropout-one-{stage}", **settings(0.3, maxTokensPerMicroBatch=1)), ranks=1)
    assert one.manifest is not None, one.outcomes
    for figure in ("loss", "lossLast", "exploredLogRatio"):
        assert one.manifest.metrics[figure] == pytest.approx(whole.metrics[figure], abs=1e-3), figure
