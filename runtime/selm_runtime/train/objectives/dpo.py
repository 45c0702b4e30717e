"""Direct preference optimization: the SELM objective without its optimism term."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Sums


def preference_losses(policy: Sums, reference: Sums, beta: float) -> tuple[Tensor, dict[str, Tensor]]:
    """-log sigma(r_w - r_l) with the implicit reward r = beta (log pi - log pi_ref): paper section 3 and eq. 4.2.

    Returns losses [pairs] and the metrics [pairs] that every preference objective reports.
    """
    chosen_reward = beta * (policy.chosen - reference.chosen)
    rejected_reward = beta * (policy.rejected - reference.rejected)
    margin = chosen_reward - rejected_reward
    losses = -F.logsigmoid(margin)
    metrics = {
        "preferenceLoss": losses.detach(),
        "rewardChosen": chosen_reward.detach(),
        "rewardRejected": rejected_reward.detach(),
        "rewardMargin": margin.detach(),
        "rewardAccuracy": (margin.detach() > 0).to(losses.dtype),
        "logProbChosen": policy.chosen.detach(),
        "logProbRejected": policy.rejected.detach(),
    }
    return losses, metrics


def evaluate(policy: Sums, reference: Sums, config: ObjectiveConfig) -> Evaluated:
    """L_DPO for each pair."""
    losses, metrics = preference_losses(policy, reference, config.beta)
    return Evaluated(losses, {"loss": losses.detach(), **metrics})


def needs_explored(_: ObjectiveConfig) -> bool:
    """Never: `alpha` has no meaning here."""
    return False


DPO = Objective(name="DPO", evaluate=evaluate, needs_explored=needs_explored)
