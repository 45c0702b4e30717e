"""RPO: DPO regularised by the likelihood of the chosen response (arXiv 2405.16436; iterative RPO, arXiv 2404.19733).

Minimised, for each pair:  -log sigma(r_w - r_l) - lambda log pi(y_w|x) / |y_w|  (`norm: TokenMean`, iterative RPO and
oat) or  ... - lambda beta log pi(y_w|x)  (`norm: Sum`, the former paper's eta beta).
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig, RPOConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, dpo_rewards, evaluated, log_sigmoid


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    settings = config.rpo or RPOConfig()
    chosen, rejected = dpo_rewards(record, config)
    result = evaluated(record, -log_sigmoid(chosen - rejected), (chosen, rejected))
    if settings.norm == "TokenMean":
        likelihood = record.per_token(record.policy).chosen
    else:
        likelihood = config.beta * record.policy.chosen
    fitting = -settings.lambda_ * likelihood
    losses = result.losses + fitting
    return Evaluated(losses, {**result.metrics, "loss": losses.detach(), "fitting": fitting.detach()})


OBJECTIVE = Objective("RPO", evaluate, needs_tokens=True)
