"""Direct preference optimization (arXiv 2305.18290, eq. 7): the SELM objective without its optimism term.

Minimised, for each pair:  -log sigma(r_w - r_l),  r = beta (log pi - log pi_ref).
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, dpo_rewards, evaluated, log_sigmoid


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    chosen, rejected = dpo_rewards(record, config)
    return evaluated(record, -log_sigmoid(chosen - rejected), (chosen, rejected))


OBJECTIVE = Objective("DPO", evaluate)
