"""Every objective against a literal transcription of its formula, in float64, values and gradients.

The transcriptions share no code with the objectives. They work on probabilities and plain arithmetic where the
objectives work on logarithms, one pair at a time, and follow the sources that they name symbol by symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.objectives import OBJECTIVES, Record, Running, Sums

PAIRS = 7
RUNNING = Running(mean=0.13, deviation=0.21)


@dataclass
class One:
    """One pair: log-probs of policy (`l_`) and reference (`r_`), token counts, age."""

    l_w: Tensor
    l_l: Tensor
    l_e: Tensor
    r_w: Tensor
    r_l: Tensor
    r_e: Tensor
    n_w: float
    n_l: float
    age: int

    @property
    def delta(self) -> Tensor:
        """(lw - rw) - (ll - rl), from ratios of probabilities as the papers write it."""
        return torch.log((self.l_w.exp() / self.r_w.exp()) / (self.l_l.exp() / self.r_l.exp()))


def sigma(x: Tensor) -> Tensor:
    return 1.0 / (1.0 + torch.exp(-x))


def dpo(p: One, beta: float) -> Tensor:
    return -torch.log(sigma(beta * p.delta))


def selm(p: One, c: ObjectiveConfig) -> Tensor:
    """arXiv 2405.19332, eq. 4.2, with the constant of `selm_trainer.py`; Algorithm 1 for `Alpha`."""
    weight = c.alpha * c.beta if c.optimism_weighting == "AlphaBeta" else c.alpha
    return dpo(p, c.beta) + weight * torch.log(p.l_e.exp() / p.r_e.exp())


def xpo(p: One, c: ObjectiveConfig) -> Tensor:
    """TRL's `xpo_trainer.py` up to 1.10: DPO or IPO, plus alpha log pi(y_ref); less the constant log pi_ref."""
    assert c.xpo is not None
    logits = (p.l_w - p.l_l) - (p.r_w - p.r_l)
    part = -torch.log(sigma(c.beta * logits)) if c.xpo.kind == "Sigmoid" else (logits - 1 / (2 * c.beta)) ** 2
    return part + c.alpha * p.l_e - c.alpha * p.r_e


def vpo(p: One, c: ObjectiveConfig) -> Tensor:
    """L(r) - sign alpha J*(r) with J* = -beta E_cal log(pi / pi_ref) (arXiv 2405.19320; DPO-COV eq. 18-19, 24-25)."""
    assert c.vpo is not None
    sign = {"Online": 1, "Offline": -1}[c.vpo.sign]
    ratio = p.l_e - p.r_e if c.vpo.calibration == "Explored" else p.l_w - p.r_w
    best_value = -c.beta * ratio
    return dpo(p, c.beta) - sign * c.alpha * best_value


def sepopo(p: One, c: ObjectiveConfig) -> Tensor:
    """SE-POPO's `wpo.py`: (alpha / beta) sigma(beta (log pi - log pi_ref)) less its value at equality."""
    return dpo(p, c.beta) + c.alpha / c.beta * (sigma(c.beta * (p.l_e - p.r_e)) - sigma(torch.zeros_like(p.l_e)))


def ipo(p: One, c: ObjectiveConfig) -> Tensor:
    """arXiv 2310.12036 eq. 17 (`Sum`); TRL's `dpo_trainer.py` divides by token counts first (`TokenMean`)."""
    assert c.ipo is not None
    n_w, n_l = (p.n_w, p.n_l) if c.ipo.norm == "TokenMean" else (1.0, 1.0)
    h = p.l_w / n_w - p.r_w / n_w - (p.l_l / n_l - p.r_l / n_l)
    return (h - 1 / (2 * c.beta)) ** 2


def hinge(p: One, c: ObjectiveConfig) -> Tensor:
    """TRL and oat (`loss.py`): relu(1 - beta logits)."""
    value = 1 - c.beta * p.delta
    return value if value > 0 else value * 0


def simpo(p: One, c: ObjectiveConfig) -> Tensor:
    """arXiv 2405.14734, eq. 6."""
    assert c.sim_po is not None
    return -torch.log(sigma(c.beta / p.n_w * p.l_w - c.beta / p.n_l * p.l_l - c.sim_po.gamma))


def robust_dpo(p: One, c: ObjectiveConfig) -> Tensor:
    """arXiv 2403.00409: ((1 - eps) L(w, l) - eps L(l, w)) / (1 - 2 eps)."""
    assert c.robust_dpo is not None
    eps = c.robust_dpo.epsilon
    flipped = -torch.log(sigma(-c.beta * p.delta))
    return ((1 - eps) * dpo(p, c.beta) - eps * flipped) / (1 - 2 * eps)


def conservative_dpo(p: One, c: ObjectiveConfig) -> Tensor:
    """oat's `loss.py` with label_smoothing: the cross-entropy of (1 - eps, eps) and (sigma, 1 - sigma)."""
    assert c.conservative_dpo is not None
    eps, probability = c.conservative_dpo.epsilon, sigma(c.beta * p.delta)
    return -(1 - eps) * torch.log(probability) - eps * torch.log(1 - probability)


def alpha_dpo(p: One, c: ObjectiveConfig) -> Tensor:
    """alpha-DPO's `dpo_trainer.py`, `average_log_prob`: the running figures are the ones given."""
    assert c.alpha_dpo is not None
    pw, pl, rw, rl = p.l_w / p.n_w, p.l_l / p.n_l, p.r_w / p.n_w, p.r_l / p.n_l
    gap = (pw - pl) - (rw - rl)
    constant = ((gap - RUNNING.mean) / RUNNING.deviation * c.alpha_dpo.alpha + c.alpha_dpo.gamma).detach()
    return -torch.log(sigma(c.beta * ((pw - pl) - constant)))


def ns_dpo(p: One, c: ObjectiveConfig) -> Tensor:
    """NS-DPO's `loss_utils.py`: gamma^(T - t - 1) with T - t - 1 the age, not normalised."""
    assert c.ns_dpo is not None
    return math.pow(c.ns_dpo.gamma, p.age) * dpo(p, c.beta)


def rpo(p: One, c: ObjectiveConfig) -> Tensor:
    """oat's `loss.py` (mean over tokens); arXiv 2405.16436 by DPO-COV eq. 19 (eta beta log pi)."""
    assert c.rpo is not None
    mean = c.rpo.norm == "TokenMean"
    return dpo(p, c.beta) - c.rpo.lambda_ * (p.l_w / p.n_w if mean else c.beta * p.l_w)


def geb(p: One, c: ObjectiveConfig) -> Tensor:
    """GEB's `wpo.py`, branch by branch: the margin by `f_div`, then the bonus by `loss_type` and `f_div`."""
    assert c.geb is not None
    rho_w, rho_l = p.l_w - p.r_w, p.l_l - p.r_l
    logp = p.l_l if c.geb.probability == "Sequence" else p.l_l / p.n_l
    prob, kappa = logp.exp(), c.alpha
    logits = {
        "KL": rho_w - rho_l,
        "Hellinger": ((rho_l * -0.5).exp() - (rho_w * -0.5).exp()) / 0.5,
        "ForwardKL": (rho_l * -1).exp() - (rho_w * -1).exp(),
    }[c.geb.divergence]
    bonus = {
        ("Complement", "KL"): lambda: kappa * prob,
        ("Complement", "ForwardKL"): lambda: -kappa * torch.log(1 - prob),
        ("Complement", "Hellinger"): lambda: -kappa * (1.5 - prob).sqrt(),
        ("Inverse", "KL"): lambda: -kappa * 1 / (prob + 1e-5),
        ("Inverse", "Hellinger"): lambda: -kappa * 1 / ((0.5 * logp).exp() + 1e-5),
        ("Inverse", "ForwardKL"): lambda: kappa * logp,
        ("Atanh", "KL"): lambda: -kappa * torch.arctanh(1 - prob - 1e-5),
        ("Atanh", "ForwardKL"): lambda: -kappa * torch.log(torch.arctanh(1 - prob - 1e-5)),
        ("Atanh", "Hellinger"): lambda: -kappa * (torch.arctanh(1 - prob - 1e-5) + 0.5).sqrt(),
    }[c.geb.bonus, c.geb.divergence]()
    return -torch.log(sigma(c.beta * logits)) + bonus


Formula = Callable[[One, ObjectiveConfig], Tensor]
DIVERGENCES, BONUSES = ("ForwardKL", "KL", "Hellinger"), ("Inverse", "Complement", "Atanh")
CASES: dict[str, tuple[Formula, dict[str, Any]]] = {
    "SELM": (selm, {}),
    "SELM of Algorithm 1": (selm, {"type": "SELM", "optimismWeighting": "Alpha"}),
    "DPO": (lambda p, c: dpo(p, c.beta), {}),
    "XPO": (xpo, {}),
    "XPO with IPO": (xpo, {"type": "XPO", "xpo": {"kind": "IPO"}}),
    "VPO": (vpo, {}),
    "VPO offline": (vpo, {"type": "VPO", "vpo": {"sign": "Offline"}}),
    "VPO on the chosen": (vpo, {"type": "VPO", "vpo": {"calibration": "Chosen"}}),
    "VPO offline on the chosen": (vpo, {"type": "VPO", "vpo": {"sign": "Offline", "calibration": "Chosen"}}),
    "SEPOPO": (sepopo, {}),
    "IPO": (ipo, {}),
    "IPO of sums": (ipo, {"type": "IPO", "ipo": {"norm": "Sum"}}),
    "Hinge": (hinge, {}),
    "SimPO": (simpo, {}),
    "SimPO, gamma 0.3": (simpo, {"type": "SimPO", "simPO": {"gamma": 0.3}}),
    "RobustDPO": (robust_dpo, {}),
    "RobustDPO, epsilon 0.3": (robust_dpo, {"type": "RobustDPO", "robustDPO": {"epsilon": 0.3}}),
    "ConservativeDPO": (conservative_dpo, {}),
    "AlphaDPO": (alpha_dpo, {}),
    "AlphaDPO, other margins": (alpha_dpo, {"type": "AlphaDPO", "alphaDPO": {"gamma": 0.1, "alpha": 0.7}}),
    "NSDPO": (ns_dpo, {}),
    "NSDPO, gamma 0.5": (ns_dpo, {"type": "NSDPO", "nsDPO": {"gamma": 0.5}}),
    "RPO": (rpo, {}),
    "RPO of sums": (rpo, {"type": "RPO", "rpo": {"lambda": 0.2, "norm": "Sum"}}),
    **{
        f"GEB {bonus} {divergence} {probability}": (
            geb,
            {"type": "GEB", "geb": {"divergence": divergence, "bonus": bonus, "probability": probability}},
        )
        for divergence in DIVERGENCES
        for bonus in BONUSES
        for probability in ("Sequence", "TokenMean")
    },
}


def config_of(name: str, **changes: Any) -> ObjectiveConfig:
    return ObjectiveConfig.model_validate(
        {"type": name.split()[0], "alpha": 0.3, "beta": 0.2, **CASES[name][1], **changes}
    )


def random_sums(seed: int, scale: float = 6.0) -> Sums:
    """Log-probs small enough that transcriptions can take exponentials, large enough that all terms matter."""
    generator = torch.Generator().manual_seed(seed)

    def values() -> Tensor:
        return -scale * torch.rand(PAIRS, dtype=torch.float64, generator=generator) - 0.1

    return Sums(values(), values(), values())


def whole_record(policy: Sums, seed: int = 0) -> Record:
    """A record with all that any objective may ask for."""
    generator = torch.Generator().manual_seed(seed + 99)
    counts = [torch.randint(1, 30, (PAIRS,), generator=generator) for _ in range(3)]
    return Record(
        policy=policy,
        reference=random_sums(seed + 1000),
        tokens=Sums(*counts),
        age=torch.arange(PAIRS, dtype=torch.float64),
        running=RUNNING,
    )


def one(record: Record, i: int) -> One:
    assert record.reference is not None
    assert record.reference.explored is not None
    assert record.policy.explored is not None
    assert record.tokens is not None
    policy, reference, tokens = record.policy, record.reference, record.tokens
    assert policy.explored is not None
    assert reference.explored is not None
    return One(
        *(policy.chosen[i], policy.rejected[i], policy.explored[i]),
        *(reference.chosen[i], reference.rejected[i], reference.explored[i]),
        n_w=float(tokens.chosen[i]),
        n_l=float(tokens.rejected[i]),
        age=i,
    )


def leaves(sums: Sums) -> list[Tensor]:
    assert sums.explored is not None
    return [tensor.requires_grad_() for tensor in (sums.chosen, sums.rejected, sums.explored)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_formulas(name: str, seed: int) -> None:
    formula, _ = CASES[name]
    config = config_of(name, alpha=0.05 + 0.3 * seed, beta=0.05 + 0.2 * seed)
    ours, theirs = whole_record(random_sums(seed), seed), whole_record(random_sums(seed), seed)
    our_leaves, their_leaves = leaves(ours.policy), leaves(theirs.policy)
    losses = OBJECTIVES[config.type].evaluate(ours, config).losses
    expected = torch.stack([formula(one(theirs, i), config) for i in range(PAIRS)])
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-9)
    our_grads = torch.autograd.grad(losses.mean(), our_leaves, allow_unused=True, materialize_grads=True)
    their_grads = torch.autograd.grad(expected.mean(), their_leaves, allow_unused=True, materialize_grads=True)
    for own, other in zip(our_grads, their_grads, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-8, atol=1e-9)


def test_every_objective_has_a_formula_here_and_every_formula_an_objective() -> None:
    assert {config_of(name).type for name in CASES} == set(OBJECTIVES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in CASES if config_of(name).type == "GEB"])
def test_gebs_bonus_is_finite_for_responses_that_are_nearly_certain(name: str, dtype: torch.dtype) -> None:
    """A response of one token, the end, may have all the probability that a float can hold."""
    certain = torch.tensor([0.0, -1e-7, -1e-6, -1e-5, -2e-5, -1e-4], dtype=dtype)
    policy = Sums(*(certain.clone().requires_grad_() for _ in range(3)))
    count = torch.ones(len(certain))
    record = Record(
        policy,
        Sums(certain, certain, certain),
        tokens=Sums(count, count, count),
        age=torch.zeros(len(certain)),
        running=RUNNING,
    )
    losses = OBJECTIVES["GEB"].evaluate(record, config_of(name)).losses
    grads = torch.autograd.grad(losses.sum(), leaves(policy), allow_unused=True, materialize_grads=True)
    assert torch.isfinite(losses).all()
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_finite_far_from_the_reference(name: str) -> None:
    """Hundreds of nats away, as in long responses late in a training, no loss and no gradient is NaN."""
    config = config_of(name)
    if config.type == "GEB" and config.geb is not None and config.geb.probability == "Sequence":
        pytest.skip("probabilities of whole responses: several variants explode by design, as docs/objectives.md says")
    for shift in (-300.0, 300.0):
        policy = Sums(*(torch.tensor([-400.0, -310.0], requires_grad=True) for _ in range(3)))
        reference = Sums(
            *(tensor.detach() - shift * sign for tensor, sign in zip(leaves(policy), (1, -1, 1), strict=True))
        )
        count = torch.tensor([200, 300])
        record = Record(policy, reference, tokens=Sums(count, count, count), age=torch.zeros(2), running=RUNNING)
        losses = OBJECTIVES[config.type].evaluate(record, config).losses
        grads = torch.autograd.grad(losses.sum(), leaves(policy), allow_unused=True, materialize_grads=True)
        assert torch.isfinite(losses).all()
        assert all(torch.isfinite(grad).all() for grad in grads)
