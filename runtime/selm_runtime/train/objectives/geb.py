"""GEB: general exploratory bonus on the rejected response (arXiv 2510.03269 and its code, `wpo.py`).

Minimised, for each pair:  -log sigma(beta m) - alpha g(u(pi)),  pi the rejected response's probability, u a
decreasing function of it, and m and g those of an f-divergence (rho = log pi - log pi_ref):

| `divergence` | m | g(u) |
| KL | rho_w - rho_l | u |
| Hellinger | 2 (exp(-rho_l / 2) - exp(-rho_w / 2)) | sqrt(u) |
| ForwardKL | exp(-rho_l) - exp(-rho_w) | log u |

| `bonus` | u (constants of the published code) |
| Complement | 1 - pi, for Hellinger 1.5 - pi; KL's constant is dropped |
| Inverse | 1 / pi; for KL and Hellinger 1 / (pi + 1e-5), 1 / (sqrt(pi) + 1e-5) |
| Atanh | atanh(1 - pi - 1e-5), for Hellinger plus 0.5 |

pi counts as 1 - 2e-5 where it is more: the published variants are infinite or no number for a certain response.

alpha is the paper's kappa. Of whole responses pi is too small for most variants to act (at 30 nats the published
default has a gradient of 1e-13) or so small that they explode; Inverse with ForwardKL, +alpha log pi, acts at any
length and is the default. `probability: TokenMean` takes the geometric mean over tokens instead, which all variants
can use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from selm_runtime.contract import GEBConfig, ObjectiveConfig
from selm_runtime.train.objectives.base import (
    LOWERED,
    Evaluated,
    Objective,
    Record,
    dpo_rewards,
    evaluated,
    log_sigmoid,
)

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_EXPONENT = 87.0
"""Twice its exponential, the largest margin, is still a float32 (the published code cuts at 88.7)."""
EPSILON = 1e-5
LIKELIEST = 1.0 - 2 * EPSILON
"""Beyond it a response counts as that likely: u of a certain one is 0 or below, where g is not finite."""


def _capped_exp(exponent: Tensor) -> Tensor:
    return exponent.clamp(max=LARGEST_EXPONENT).exp()


def _margin(record: Record, divergence: str) -> Tensor:
    ratios = record.ratios
    if divergence == "KL":
        return ratios.chosen - ratios.rejected
    power = 0.5 if divergence == "Hellinger" else 1.0
    return (_capped_exp(-power * ratios.rejected) - _capped_exp(-power * ratios.chosen)) / power


def _bonus(log_probability: Tensor, settings: GEBConfig) -> Tensor:
    """g(u(pi)) [n] of the rejected responses' log pi."""
    probability = log_probability.exp().clamp(max=LIKELIEST)
    hellinger, forward = settings.divergence == "Hellinger", settings.divergence == "ForwardKL"
    if settings.bonus == "Inverse":
        if forward:
            return -log_probability
        return 1.0 / ((0.5 * log_probability if hellinger else log_probability).exp() + EPSILON)
    if settings.bonus == "Complement":
        if forward:
            return (-probability).log1p()
        return (1.5 - probability).sqrt() if hellinger else -probability
    value = (1.0 - probability - EPSILON).atanh()
    if forward:
        return value.log()
    return (value + 0.5).sqrt() if hellinger else value


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    settings = config.geb or GEBConfig()
    result = evaluated(
        record, -log_sigmoid(config.beta * _margin(record, settings.divergence)), dpo_rewards(record, config)
    )
    if config.alpha == 0.0:
        return result
    rejected = (
        record.per_token(record.policy).rejected if settings.probability == "TokenMean" else record.policy.rejected
    )
    bonus = -config.alpha * _bonus(rejected, settings)
    if record.online is not None:
        bonus = bonus * record.online
    losses = result.losses + bonus
    lowered = {LOWERED: record.ratios.rejected.detach()}
    return Evaluated(losses, {**result.metrics, **lowered, "loss": losses.detach(), "optimism": bonus.detach()})


OBJECTIVE = Objective("GEB", evaluate, reads=frozenset({"alpha"}), needs_tokens=True)
