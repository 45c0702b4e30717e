"""The objectives against a literal transcription of the paper's formula (arXiv 2405.19332, eq. 4.2), in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.objectives import OBJECTIVES, Sums
from selm_runtime.train.objectives.selm import optimism_weight

PAIRS, SAMPLES = 7, 20


def paper_loss(policy: dict[str, Tensor], reference: dict[str, Tensor], alpha: float, beta: float) -> Tensor:
    """-J of eq. 4.2, pair by pair and symbol by symbol, without any of the code under test.

    L_DPO = -log sigma( beta log pi(y_w|x)/pi_ref(y_w|x) - beta log pi(y_l|x)/pi_ref(y_l|x) ), to which the maximised
    objective adds -alpha beta E_{y ~ pi_ref} log pi(y|x); the published code subtracts the constant log pi_ref there.
    """
    losses = []
    for i in range(PAIRS):
        pi_w, pi_l, pi_e = (torch.exp(policy[name][i]) for name in ("w", "l", "e"))
        ref_w, ref_l, ref_e = (torch.exp(reference[name][i]) for name in ("w", "l", "e"))
        difference = beta * torch.log(pi_w / ref_w) - beta * torch.log(pi_l / ref_l)
        sigma = 1.0 / (1.0 + torch.exp(-difference))
        losses.append(-torch.log(sigma) + alpha * beta * (torch.log(pi_e) - torch.log(ref_e)))
    return torch.stack(losses)


def random_log_probs(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: -30.0 * torch.rand(PAIRS, dtype=torch.float64, generator=generator) - 0.1 for name in "wle"}


def settings(kind: str = "SELM", **changes: float | str) -> ObjectiveConfig:
    return ObjectiveConfig.model_validate({"type": kind, "alpha": 0.3, "beta": 0.2, **changes})


@pytest.mark.parametrize("seed", range(SAMPLES))
def test_selm_equals_the_papers_formula_in_value_and_gradient(seed: int) -> None:
    alpha, beta = 0.05 + 0.1 * seed, 0.01 + 0.05 * seed
    reference = random_log_probs(1000 + seed)
    ours, theirs = random_log_probs(seed), random_log_probs(seed)
    for tensor in (*ours.values(), *theirs.values()):
        tensor.requires_grad_()
    losses = (
        OBJECTIVES["SELM"]
        .evaluate(
            Sums(ours["w"], ours["l"], ours["e"]),
            Sums(reference["w"], reference["l"], reference["e"]),
            settings(alpha=alpha, beta=beta),
        )
        .losses
    )
    expected = paper_loss(theirs, reference, alpha, beta)
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-8)
    losses.mean().backward()
    expected.mean().backward()
    for name in "wle":
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=0, atol=1e-8)


def test_the_gradient_is_equation_4_3() -> None:
    """beta sigma(r_l - r_w) (grad log pi_w - grad log pi_l) for the maximised part, -alpha beta on the explored one."""
    policy, reference, config = random_log_probs(1), random_log_probs(2), settings()
    for tensor in policy.values():
        tensor.requires_grad_()
    OBJECTIVES["SELM"].evaluate(
        Sums(policy["w"], policy["l"], policy["e"]), Sums(reference["w"], reference["l"], reference["e"]), config
    ).losses.sum().backward()
    reward_w, reward_l = (config.beta * (policy[name].detach() - reference[name]) for name in "wl")
    push = config.beta * torch.sigmoid(reward_l - reward_w)
    torch.testing.assert_close(policy["w"].grad, -push, rtol=0, atol=1e-12)
    torch.testing.assert_close(policy["l"].grad, push, rtol=0, atol=1e-12)
    torch.testing.assert_close(policy["e"].grad, torch.full_like(push, config.alpha * config.beta), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["SELM", "DPO"])
def test_at_the_reference_the_preference_part_is_ln_2_and_the_optimism_part_0(kind: str) -> None:
    same = random_log_probs(3)
    sums = Sums(same["w"], same["l"], same["e"])
    result = OBJECTIVES[kind].evaluate(sums, sums, settings(kind))
    torch.testing.assert_close(result.losses, torch.full((PAIRS,), math.log(2.0), dtype=torch.float64))
    if kind == "SELM":
        assert torch.equal(result.metrics["optimism"], torch.zeros(PAIRS, dtype=torch.float64))


def test_selm_at_alpha_0_is_dpo_to_the_bit_and_does_not_ask_for_the_explored_response() -> None:
    policy, reference = random_log_probs(4), random_log_probs(5)
    pair, other = Sums(policy["w"], policy["l"]), Sums(reference["w"], reference["l"])
    selm = OBJECTIVES["SELM"].evaluate(pair, other, settings(alpha=0.0))
    dpo = OBJECTIVES["DPO"].evaluate(pair, other, settings("DPO"))
    assert torch.equal(selm.losses, dpo.losses)
    assert not OBJECTIVES["SELM"].needs_explored(settings(alpha=0.0))
    assert not OBJECTIVES["DPO"].needs_explored(settings("DPO"))
    assert OBJECTIVES["SELM"].needs_explored(settings())


def test_a_missing_explored_response_is_an_error_and_not_a_term_of_0() -> None:
    policy = random_log_probs(6)
    pair = Sums(policy["w"], policy["l"])
    with pytest.raises(ValueError, match="explored"):
        OBJECTIVES["SELM"].evaluate(pair, pair, settings())


@pytest.mark.parametrize(("weighting", "expected"), [("AlphaBeta", 0.06), ("Alpha", 0.3)])
def test_the_optimism_terms_weight_is_alpha_beta_or_alpha(weighting: str, expected: float) -> None:
    assert optimism_weight(settings(optimism_weighting=weighting)) == pytest.approx(expected)


def test_gradients_add_where_the_explored_response_is_the_chosen_one() -> None:
    policy, reference, config = random_log_probs(7), random_log_probs(8), settings()
    shared, rejected = policy["w"].requires_grad_(), policy["l"]
    OBJECTIVES["SELM"].evaluate(
        Sums(shared, rejected, shared), Sums(reference["w"], reference["l"], reference["w"]), config
    ).losses.sum().backward()
    margin = config.beta * ((shared.detach() - reference["w"]) - (rejected - reference["l"]))
    expected = -config.beta * torch.sigmoid(-margin) + config.alpha * config.beta
    torch.testing.assert_close(shared.grad, expected, rtol=0, atol=1e-12)


def test_extreme_margins_stay_finite() -> None:
    far = torch.tensor([-1e4, 0.0])
    sums, zero = Sums(far.clone().requires_grad_(), torch.zeros(2)), Sums(torch.zeros(2), torch.zeros(2))
    losses = OBJECTIVES["DPO"].evaluate(sums, zero, settings("DPO", beta=1.0)).losses
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert sums.chosen.grad is not None
    assert torch.isfinite(sums.chosen.grad).all()
