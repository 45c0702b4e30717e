"""Conservative DPO (label smoothing): the cross-entropy against labels that are flipped with probability epsilon.

Minimised, for each pair:  -(1 - epsilon) log sigma(z) - epsilon log sigma(-z),  z = r_w - r_l: E. Mitchell's note on
noisy preferences, and what `label_smoothing` means in most trainers.
"""

from __future__ import annotations

from selm_runtime.contract import ConservativeDPOConfig, ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, dpo_rewards, evaluated, log_sigmoid


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    chosen, rejected = dpo_rewards(record, config)
    margin = chosen - rejected
    epsilon = (config.conservative_dpo or ConservativeDPOConfig()).epsilon
    losses = -(1.0 - epsilon) * log_sigmoid(margin) - epsilon * log_sigmoid(-margin)
    return evaluated(record, losses, (chosen, rejected))


OBJECTIVE = Objective("ConservativeDPO", evaluate)
