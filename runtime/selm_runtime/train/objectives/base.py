"""What an objective is: a pure function of one record, and what it says it needs.

torch is imported when a loss is computed and not before, so that a pod can ask what an objective needs while it still
looks for work that is done already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selm_runtime.contract import ObjectiveConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """One value for each response of a batch of n pairs: [n] for chosen and rejected, [m] for the explored responses.

    Of log-probabilities: summed over response tokens (EOS included), in nats, float32 (or float64 in tests). The
    explored responses are None where the objective does not act on them: then they are not run at all.
    """

    chosen: Tensor
    rejected: Tensor
    explored: Tensor | None = None


@dataclass(frozen=True)
class Running:
    """Mean and standard deviation of what an objective observes, over whole optimizer steps."""

    mean: float | Tensor
    deviation: float | Tensor


@dataclass(frozen=True)
class Record:
    """All that an objective may know of n pairs. What it did not ask for is None."""

    policy: Sums
    reference: Sums | None = None
    explored_of: Tensor | None = None
    """[m] int64: the pair that each explored response belongs to; None: one for each pair, in their order."""
    tokens: Sums | None = None
    """Response tokens, EOS included."""
    scores: Sums | None = None
    """[n] scores of chosen and rejected; NaN where a pair has none (the data's own pairs)."""
    age: Tensor | None = None
    """[n]: iterations since the pair was made; 0: in this one."""
    online: Tensor | None = None
    """[n]: 1 where the pair was made of responses to this run's prompts, 0 where it is the data's own; None: all 1."""
    running: Running | None = None

    @property
    def ratios(self) -> Sums:
        """log pi - log pi_ref of each response. Raises ValueError where the reference was not asked for."""
        if self.reference is None:
            raise ValueError("the objective reads the reference's log-probabilities without asking for them")
        ours, theirs = self.policy, self.reference
        explored = None
        if ours.explored is not None and theirs.explored is not None:
            explored = ours.explored - theirs.explored
        return Sums(ours.chosen - theirs.chosen, ours.rejected - theirs.rejected, explored)

    @property
    def explored_ratio(self) -> Tensor:
        """[m]: log pi - log pi_ref of the explored responses. Raises ValueError where they were not run."""
        explored = self.ratios.explored
        if explored is None:
            raise ValueError("the objective needs the explored responses' log-probabilities, and there are none")
        return explored

    def per_token(self, sums: Sums) -> Sums:
        """Chosen and rejected divided by their token counts. Raises ValueError where these were not asked for."""
        if self.tokens is None:
            raise ValueError("the objective reads token counts without asking for them")
        return Sums(sums.chosen / self.tokens.chosen, sums.rejected / self.tokens.rejected)

    def mean_explored(self, values: Tensor) -> Tensor:
        """[m] -> [n]: the mean over each pair's explored responses; 0 for a pair that has none."""
        if self.explored_of is None:
            return values
        zeros = values.new_zeros(self.policy.chosen.shape[0])
        counts = zeros.index_add(0, self.explored_of, values.new_ones(values.shape[0]))
        return zeros.index_add(0, self.explored_of, values) / counts.clamp(min=1)


@dataclass(frozen=True)
class Evaluated:
    """An objective's value: `losses` [n], one a pair, in nats, and metrics without gradient.

    A metric has one value a pair, or one for each of the responses or pairs that it speaks of: it is averaged over
    those of a whole step.
    """

    losses: Tensor
    metrics: Mapping[str, Tensor]


EXPLORED = "exploredLogRatio"
"""Metric: mean log pi - log pi_ref of a step's explored responses, in nats."""
LOWERED = "loweredLogRatio"
"""The same of the responses whose likelihood an exploring term lowers where those are not the explored ones."""
KL_PAIRS = "klPairs"
"""Metric: mean log pi_ref - log pi of chosen and rejected, in nats: how far the policy has gone on what it is trained on."""


def never(_: ObjectiveConfig) -> bool:
    """Of an objective that does not act on the explored response: `alpha` has no meaning to it."""
    return False


def always(_: ObjectiveConfig) -> bool:
    """Whatever the settings."""
    return True


def where_alpha(config: ObjectiveConfig) -> bool:
    """Only where the exploring term has a weight."""
    return config.alpha != 0.0


@dataclass(frozen=True)
class Objective:
    """One entry of the registry.

    `evaluate(record, config)` is pure: no state, no device choice, no reduction over pairs, so that the mean over an
    optimizer step does not depend on how its pairs were spread over ranks and micro-batches. It is given what the
    other fields ask for; the loop, the reference pass, the pairs' table and the input digest obey them.
    """

    name: str
    evaluate: Callable[[Record, ObjectiveConfig], Evaluated]
    explores: Callable[[ObjectiveConfig], bool] = never
    """Whether the explored responses are run."""
    alpha_explores: Callable[[ObjectiveConfig], bool] = always
    """Whether `alpha` weighs a term that only makes sense of the policy's own responses: off for the data's pairs."""
    reads: frozenset[str] = frozenset()
    """Fields of `ObjectiveConfig` beside type, beta and the objective's own group that change the loss."""
    needs_reference: bool = True
    needs_tokens: bool = False
    needs_scores: bool = False
    needs_age: bool = False
    """Trains on the pairs of all iterations so far, each with its age."""
    from_reference: bool = False
    """Its explored responses are the reference's, and with a fixed reference it trains on all iterations' pairs."""
    observes: Callable[[Record], Tensor] | None = None
    """[n], without gradient: what `Record.running` is the mean and deviation of; None: it wants no such figures."""


def log_sigmoid(values: Tensor) -> Tensor:
    """log sigma(x), exact for large |x|."""
    from torch.nn import functional

    return functional.logsigmoid(values)


def reward_metrics(record: Record, chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    """What every objective reports of its implicit rewards [n] of chosen and rejected."""
    margin = (chosen - rejected).detach()
    drift = {}
    if record.reference is not None:
        ratios = record.ratios
        drift = {KL_PAIRS: -(ratios.chosen + ratios.rejected).detach() / 2}
    return {
        **drift,
        "rewardChosen": chosen.detach(),
        "rewardRejected": rejected.detach(),
        "rewardMargin": margin,
        "rewardAccuracy": (margin > 0).to(margin.dtype),
        "logProbChosen": record.policy.chosen.detach(),
        "logProbRejected": record.policy.rejected.detach(),
    }


def dpo_rewards(record: Record, config: ObjectiveConfig) -> tuple[Tensor, Tensor]:
    """beta (log pi - log pi_ref) of chosen and rejected, [n] each: the implicit rewards of DPO (arXiv 2305.18290)."""
    ratios = record.ratios
    return config.beta * ratios.chosen, config.beta * ratios.rejected


def evaluated(
    record: Record, preference: Tensor, rewards: tuple[Tensor, Tensor], *, bonus: Tensor | None = None
) -> Evaluated:
    """The whole of a preference part [n] and an exploring term on the explored responses [m], with their metrics.

    `bonus` is averaged over each pair's explored responses and added; without it the preference part is the loss, to
    the bit.
    """
    metrics = {"preferenceLoss": preference.detach(), **reward_metrics(record, *rewards)}
    losses = preference
    if bonus is not None:
        optimism = record.mean_explored(bonus)
        losses = preference + optimism
        metrics |= {"optimism": optimism.detach(), EXPLORED: record.explored_ratio.detach()}
        if record.policy.explored is not None:
            metrics["logProbExplored"] = record.policy.explored.detach()
    return Evaluated(losses, {"loss": losses.detach(), **metrics})
