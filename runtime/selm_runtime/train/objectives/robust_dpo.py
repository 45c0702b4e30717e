"""Robust DPO (arXiv 2403.00409): unbiased under labels that are flipped with probability epsilon.

Minimised, for each pair:  ((1 - epsilon) l(z) - epsilon l(-z)) / (1 - 2 epsilon),  l(z) = -log sigma(z), z = r_w - r_l.
The loss may be negative.
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig, RobustDPOConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, dpo_rewards, evaluated, log_sigmoid


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    chosen, rejected = dpo_rewards(record, config)
    margin = chosen - rejected
    epsilon = (config.robust_dpo or RobustDPOConfig()).epsilon
    losses = (-(1.0 - epsilon) * log_sigmoid(margin) + epsilon * log_sigmoid(-margin)) / (1.0 - 2.0 * epsilon)
    return evaluated(record, losses, (chosen, rejected))


OBJECTIVE = Objective("RobustDPO", evaluate)
