"""The SELM objective: DPO and an optimism term on the explored response (arXiv 2405.19332, eq. 4.2).

Minimised, for each pair:  -log sigma(r_w - r_l) + weight (log pi(y_e|x) - log pi_ref(y_e|x)),
with y_e the policy's own response as the reference generated it. The term lowers the likelihood of what the reference
would say. `log pi_ref` is a constant that changes the value alone, so that the term starts at 0.
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


def optimism_weight(config: ObjectiveConfig) -> float:
    """alpha beta as in eq. 4.2 and the published code (`AlphaBeta`), or alpha as in Algorithm 1 (`Alpha`)."""
    return config.alpha * config.beta if config.optimism_weighting == "AlphaBeta" else config.alpha


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    """At alpha = 0 this is L_DPO to the bit: the term is left out, not multiplied by zero."""
    chosen, rejected = dpo_rewards(record, config)
    bonus = optimism_weight(config) * record.explored_ratio if where_alpha(config) else None
    return evaluated(record, -log_sigmoid(chosen - rejected), (chosen, rejected), bonus=bonus)


OBJECTIVE = Objective(
    "SELM", evaluate, explores=where_alpha, reads=frozenset({"alpha", "optimism_weighting", "explored"})
)
