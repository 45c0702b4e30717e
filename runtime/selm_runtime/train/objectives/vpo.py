"""Value-incentivized preference optimization (arXiv 2405.19320).

Minimised, for each pair:  -log sigma(r_w - r_l) + sign alpha beta (log pi(y_c|x) - log pi_ref(y_c|x)),
with y_c of the calibration policy: the explored response, or the chosen one. `sign: Online` (+) is optimism and lowers
the likelihood of what calibrates; `Offline` (-) is pessimism and raises it. Calibrated on the explored response with
the online sign it is SELM; on the chosen with the offline sign, RPO's regulariser.
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig, VPOConfig
from selm_runtime.train.objectives.base import (
    LOWERED,
    Evaluated,
    Objective,
    Record,
    dpo_rewards,
    evaluated,
    log_sigmoid,
    where_alpha,
)


def _settings(config: ObjectiveConfig) -> VPOConfig:
    return config.vpo or VPOConfig()


def explores(config: ObjectiveConfig) -> bool:
    """Only where the term has a weight and is not calibrated on the chosen."""
    return where_alpha(config) and calibrated_on_explored(config)


def calibrated_on_explored(config: ObjectiveConfig) -> bool:
    """Else the term acts on the chosen responses, which the data's own pairs have too."""
    return _settings(config).calibration == "Explored"


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    chosen, rejected = dpo_rewards(record, config)
    preference = -log_sigmoid(chosen - rejected)
    weight = config.alpha * config.beta * (1.0 if _settings(config).sign == "Online" else -1.0)
    if explores(config):
        return evaluated(record, preference, (chosen, rejected), bonus=weight * record.explored_ratio)
    result = evaluated(record, preference, (chosen, rejected))
    if not where_alpha(config):
        return result
    calibration = weight * record.ratios.chosen
    losses = result.losses + calibration
    lowered = {LOWERED: record.ratios.chosen.detach()} if weight > 0.0 else {}
    return Evaluated(
        losses, {**result.metrics, **lowered, "loss": losses.detach(), "calibration": calibration.detach()}
    )


OBJECTIVE = Objective(
    "VPO",
    evaluate,
    explores=explores,
    alpha_explores=calibrated_on_explored,
    reads=frozenset({"alpha", "explored"}),
)
