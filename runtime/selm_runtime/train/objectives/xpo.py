"""Exploratory preference optimization (arXiv 2405.21046, Algorithm 1).

Minimised, for each pair:  L + alpha (log pi(y_e|x) - log pi_ref(y_e|x)),  y_e a sample of the reference, with
L = -log sigma(r_w - r_l) (`kind: Sigmoid`) or IPO's square (h - 1/(2 beta))^2 of summed log-ratios (`kind: IPO`).

alpha is not multiplied by beta: it stands where SELM has alpha beta. The paper's reference is fixed and its sums run
over all data so far: with `reference: Initial` training takes the pairs of all iterations, with `Previous` those of
the iteration alone. `log pi_ref` is a constant that changes the value alone.
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig, XPOConfig
from selm_runtime.train.objectives.base import (
    Evaluated,
    Objective,
    Record,
    dpo_rewards,
    evaluated,
    log_sigmoid,
    where_alpha,
)


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    chosen, rejected = dpo_rewards(record, config)
    if (config.xpo or XPOConfig()).kind == "IPO":
        ratios = record.ratios
        preference = (ratios.chosen - ratios.rejected - 1.0 / (2.0 * config.beta)).square()
    else:
        preference = -log_sigmoid(chosen - rejected)
    bonus = config.alpha * record.explored_ratio if where_alpha(config) else None
    return evaluated(record, preference, (chosen, rejected), bonus=bonus)


OBJECTIVE = Objective(
    "XPO", evaluate, explores=where_alpha, reads=frozenset({"alpha", "explored"}), from_reference=True
)
