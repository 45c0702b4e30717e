"""Loss and gradient of an optimizer step do not depend on how its pairs are laid out.

Padded = packed = prefix-shared = in tiles = recomputed, over 1, 2 and 4 ranks and any micro-batch, in float32: values
and gradients to 1e-6 of their size. Ranks are played one after the other here, their gradients averaged as DeepSpeed
averages them; `test_train_ranks.py` holds real ones to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from selm_runtime.train import batches, logprobs
from selm_runtime.train import model as models
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair
from support.train_pairs import ALPHA, BETA, constants_of, make_pairs, padded_sums, response_of

PAIRS = 8
TOLERANCE = 1e-6
LENGTH = 64


@dataclass(frozen=True)
class Step:
    """The mean loss over the step's pairs, and its gradient, all parameters in one vector."""

    loss: Tensor
    gradient: Tensor


@pytest.fixture(scope="module")
def pairs() -> dict[int, Pair]:
    return {pair.row: pair for pair in make_pairs(PAIRS)}


@pytest.fixture(scope="module")
def padded(tiny: Path, pairs: Mapping[int, Pair]) -> Step:
    """Three padded rows a pair, one batch, an attention mask, full logits: plain transformers."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    whole = list(pairs.values())
    sums = [padded_sums(model, [(p.prompt, response_of(p, role)) for p in whole]) for role in ROLES]
    loss = losses(*sums, whole).mean()
    loss.backward()
    return Step(loss.detach(), gradient_of(model))


ROLES = ("chosen", "rejected", "explored")


def losses(chosen: Tensor, rejected: Tensor, explored: Tensor, pairs: list[Pair]) -> Tensor:
    """Eq. 4.2 of arXiv 2405.19332, written out; the reference's sums are arbitrary constants of the row."""
    ratio = [own - constants_of(pairs, role) for own, role in zip((chosen, rejected, explored), ROLES, strict=True)]
    return -F.logsigmoid(BETA * (ratio[0] - ratio[1])) + ALPHA * BETA * ratio[2]


def gradient_of(model: nn.Module) -> Tensor:
    named = {name.removeprefix("model.model."): p for name, p in model.named_parameters() if p.grad is not None}
    return torch.cat([parameter.grad.flatten() for _, parameter in sorted(named.items())])  # type: ignore[union-attr]


def ours(
    tiny: Path, pairs: Mapping[int, Pair], *, ranks: int, max_tokens: int, prepare: Callable[[nn.Module], object] = id
) -> Step:
    """The trainer's own plan, packing, attention and head; each rank's gradient by itself, then their mean."""
    tokens = {row: pair.tokens for row, pair in pairs.items()}
    plan = batches.plan_step(list(pairs), tokens, ranks=ranks, max_tokens=max_tokens)
    total = torch.zeros(())
    gradients = []
    for share in plan:
        policy = models.load(tiny, dtype=torch.float32, max_length=LENGTH)
        policy.train()
        prepare(policy)
        for micro in share:
            whole = [pairs[row] for row in micro]
            sums = (batch := pack(whole, explored=True)).sums(policy(batch))
            assert sums.explored is not None
            loss = losses(sums.chosen, sums.rejected, sums.explored, whole).sum()
            (loss * (ranks / len(pairs))).backward()
            total = total + loss.detach() / len(pairs)
        gradients.append(gradient_of(policy.model))
    return Step(total, torch.stack(gradients).mean(0))


def assert_equal(step: Step, expected: Step) -> None:
    torch.testing.assert_close(step.loss, expected.loss, rtol=0, atol=TOLERANCE)
    difference = (step.gradient.double() - expected.gradient.double()).norm() / expected.gradient.double().norm()
    assert float(difference) < TOLERANCE


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("max_tokens", [1, 60, 10_000], ids=["a pair each", "some pairs", "all at once"])
def test_ranks_and_micro_batches_change_neither_loss_nor_gradient(
    ranks: int, max_tokens: int, tiny: Path, pairs: dict[int, Pair], padded: Step
) -> None:
    assert_equal(ours(tiny, pairs, ranks=ranks, max_tokens=max_tokens), padded)


def test_the_order_of_the_pairs_changes_neither(tiny: Path, pairs: dict[int, Pair], padded: Step) -> None:
    turned = dict(reversed(pairs.items()))
    assert_equal(ours(tiny, turned, ranks=2, max_tokens=60), padded)


@pytest.mark.parametrize("kept", [0, 1 << 26], ids=["recomputed tiles", "kept tiles"])
@pytest.mark.parametrize("tile", [1, 262 * 7, 1 << 24])
def test_tiles_change_neither(
    tile: int, kept: int, tiny: Path, pairs: dict[int, Pair], padded: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = logprobs.tiled_log_probs

    def in_tiles(hidden: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None) -> Tensor:
        return whole(hidden, weight, targets, bias=bias, tile_elements=tile, kept_elements=kept)

    monkeypatch.setattr(logprobs, "tiled_log_probs", in_tiles)
    assert_equal(ours(tiny, pairs, ranks=1, max_tokens=60), padded)


def test_recomputed_activations_change_neither(tiny: Path, pairs: dict[int, Pair], padded: Step) -> None:
    def recompute(policy: nn.Module) -> None:
        assert isinstance(policy, models.ResponseLogProbs)
        assert models.enable_checkpointing_if_needed(policy, tokens=1000, budget=0)

    assert_equal(ours(tiny, pairs, ranks=1, max_tokens=60, prepare=recompute), padded)


def test_a_padded_trainer_that_sums_over_padding_would_be_found(
    tiny: Path, pairs: dict[int, Pair], padded: Step
) -> None:
    """The comparison can fail: one pad token's log-prob in the sums is far beyond the tolerance."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    whole = list(pairs.values())
    rows = [[(p.prompt, response_of(p, role)) for p in whole] for role in ROLES]
    rows[0][0] = (rows[0][0][0], (*rows[0][0][1], 0))
    loss = losses(*(padded_sums(model, role) for role in rows), whole).mean()
    loss.backward()
    with pytest.raises(AssertionError):
        assert_equal(Step(loss.detach(), gradient_of(model)), padded)
