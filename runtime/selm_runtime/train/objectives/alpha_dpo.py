"""alpha-DPO: SimPO with a margin that adapts to each pair (arXiv 2410.10148 and its code, `dpo_trainer.py`).

Minimised, for each pair, with all log-probs as means over tokens:
    -log sigma(beta (lw - ll - sg[gamma + alpha (M - mu) / s])),  M = (lw - rw) - (ll - rl),
sg: without gradient; mu and s: running mean and standard deviation of M. As in the code, the running figures are
x <- 0.9 x + 0.1 (of the batch), the present batch included. Two of its habits are left out: the figures do not start
at 0 (which makes the first margins ten times too large) but are corrected for their bias, and the batch is the whole
optimizer step and not a micro-batch, so that neither ranks nor micro-batches change the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from selm_runtime.contract import AlphaDPOConfig, ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, evaluated, log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_DEVIATION = 1e-3
"""Nats a token. Gaps that differ by less are rounding (policy and reference are the same weights at first)."""


def gap(record: Record) -> Tensor:
    """M [n], without gradient."""
    ratios = record.per_token(record.ratios)
    return (ratios.chosen - ratios.rejected).detach()


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    if record.running is None:
        raise ValueError("the AlphaDPO objective needs the running figures of its margin, and there are none")
    settings = config.alpha_dpo or AlphaDPOConfig()
    means = record.per_token(record.policy)
    chosen, rejected = config.beta * means.chosen, config.beta * means.rejected
    gaps = gap(record)
    deviation = (gaps.new_zeros(()).double() + record.running.deviation).clamp(min=SMALLEST_DEVIATION)
    score = (gaps - record.running.mean) / deviation
    target = config.beta * (settings.gamma + settings.alpha * score)
    result = evaluated(record, -log_sigmoid(chosen - rejected - target), (chosen, rejected))
    return Evaluated(result.losses, {**result.metrics, "targetMargin": target})


OBJECTIVE = Objective("AlphaDPO", evaluate, needs_tokens=True, observes=gap)
