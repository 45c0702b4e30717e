"""SE-POPO: preference-based exploration with a bounded bonus (arXiv 2502.00666 and its code, `wpo.py`).

Minimised, for each pair:  -log sigma(r_w - r_l) + (alpha / beta) (sigma(beta (log pi(y_e|x) - log pi_ref(y_e|x))) - 1/2).
The bonus lies within alpha / (2 beta) of 0; its slope where policy and reference agree is alpha / 4. With several
explored responses it is the mean of their bonuses.
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig
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
    bonus = None
    if where_alpha(config):
        bonus = config.alpha / config.beta * ((config.beta * record.explored_ratio).sigmoid() - 0.5)
    return evaluated(record, -log_sigmoid(chosen - rejected), (chosen, rejected), bonus=bonus)


OBJECTIVE = Objective("SEPOPO", evaluate, explores=where_alpha, reads=frozenset({"alpha", "explored"}))
