"""The hinge loss on DPO's margin, as TRL and oat have it after SLiC (arXiv 2305.10425).

Minimised, for each pair:  max(0, 1 - (r_w - r_l)),  r = beta (log pi - log pi_ref). The gradient at the kink is 0.
SLiC-HF itself has no reference, a margin of its own and a regulariser.
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, dpo_rewards, evaluated


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    chosen, rejected = dpo_rewards(record, config)
    return evaluated(record, (1.0 - (chosen - rejected)).relu(), (chosen, rejected))


OBJECTIVE = Objective("Hinge", evaluate)
