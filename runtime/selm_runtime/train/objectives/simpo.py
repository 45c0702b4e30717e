"""SimPO (arXiv 2405.14734, eq. 6): no reference, rewards normalised by length, a target margin.

Minimised, for each pair:  -log sigma(r_w - r_l - gamma),  r = (beta / |y|) log pi(y|x). The published code takes
gamma / beta as its parameter. Useful values of beta are about 2, of gamma about half of that.
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig, SimPOConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, evaluated, log_sigmoid


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    means = record.per_token(record.policy)
    chosen, rejected = config.beta * means.chosen, config.beta * means.rejected
    margin = chosen - rejected - (config.sim_po or SimPOConfig()).gamma
    return evaluated(record, -log_sigmoid(margin), (chosen, rejected))


OBJECTIVE = Objective("SimPO", evaluate, needs_reference=False, needs_tokens=True)
