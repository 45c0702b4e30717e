"""Identity preference optimization (arXiv 2310.12036, eq. 17); beta is the paper's tau.

Minimised, for each pair:  (h - 1/(2 beta))^2,  h the difference of the log-ratios log pi - log pi_ref of chosen and
rejected: as means over the response's tokens (`norm: TokenMean`, what the authors confirmed and TRL does) or as sums
(`norm: Sum`, the equation as printed). The two differ by the square of the length.
"""

from __future__ import annotations

from selm_runtime.contract import IPOConfig, ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, dpo_rewards, evaluated


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    ratios = record.ratios
    if (config.ipo or IPOConfig()).norm == "TokenMean":
        ratios = record.per_token(ratios)
    losses = (ratios.chosen - ratios.rejected - 1.0 / (2.0 * config.beta)).square()
    return evaluated(record, losses, dpo_rewards(record, config))


OBJECTIVE = Objective("IPO", evaluate, needs_tokens=True)
