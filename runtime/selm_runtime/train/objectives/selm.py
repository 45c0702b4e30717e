"""The SELM objective: DPO and an optimism term on the explored response (arXiv 2405.19332, eq. 4.2).

Minimised, for each pair:  -log sigma(r_w - r_l) + weight (log pi(y_e|x) - log pi_ref(y_e|x)),
with y_e the policy's own response as the reference generated it. The term lowers the likelihood of what the reference
would say. `log pi_ref` is a constant that changes the value alone, so that the term starts at 0.
"""

from __future__ import annotations

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Sums
from selm_runtime.train.objectives.dpo import preference_losses


def optimism_weight(config: ObjectiveConfig) -> float:
    """alpha beta as in eq. 4.2 and the published code (`AlphaBeta`), or alpha as in Algorithm 1 (`Alpha`)."""
    return config.alpha * config.beta if config.optimism_weighting == "AlphaBeta" else config.alpha


def evaluate(policy: Sums, reference: Sums, config: ObjectiveConfig) -> Evaluated:
    """L_SELM for each pair. At alpha = 0 this is L_DPO to the bit: the term is left out, not multiplied by zero."""
    losses, metrics = preference_losses(policy, reference, config.beta)
    if not needs_explored(config):
        return Evaluated(losses, {"loss": losses.detach(), **metrics})
    if policy.explored is None or reference.explored is None:
        raise ValueError("the SELM objective with alpha > 0 needs the explored response's log-probabilities")
    log_ratio = policy.explored - reference.explored
    optimism = optimism_weight(config) * log_ratio
    losses = losses + optimism
    metrics |= {"optimism": optimism.detach(), "exploredLogRatio": log_ratio.detach()}
    return Evaluated(losses, {"loss": losses.detach(), **metrics})


def needs_explored(config: ObjectiveConfig) -> bool:
    """Only where the term has a weight."""
    return config.alpha != 0.0


SELM = Objective(name="SELM", evaluate=evaluate, needs_explored=needs_explored)
