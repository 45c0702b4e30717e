"""What Evaluation reports, from scores and summed log-probs: pure functions.

Notation: log π(y|x) is summed over the response's tokens, its end-of-sequence token included. π is the policy under
evaluation, π₀ the run's base, π_ref the reference that the iteration was trained against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate.statistics import EVEN, WinRate, estimate, fit_line, paired_gain, win_rate


@dataclass(frozen=True)
class HeldOutLogProbs:
    """Summed log-probs of one held-out row, as in the table HELD_OUT_LOG_PROBS."""

    row: int
    response: float
    response_base: float
    response_tokens: int
    chosen: float | None
    rejected: float | None


@dataclass(frozen=True)
class RewardFigures:
    """One scorer's figures of one iteration, all over the same held-out prompts in the same order."""

    mean_reward: float
    mean_reward_half_width: float
    gain: float
    gain_half_width: float
    base: WinRate
    previous: WinRate

    @property
    def win_rate_base(self) -> float:
        return self.base.rate

    @property
    def win_rate_previous(self) -> float:
        return self.previous.rate


MaybeScores = Sequence[float | None]
"""None where a scorer could not say."""


def reward_figures(
    scores: MaybeScores,
    base: MaybeScores | None,
    with_base: tuple[MaybeScores, MaybeScores] | None,
    with_previous: tuple[MaybeScores, MaybeScores] | None,
) -> RewardFigures:
    """Mean reward with its 95 % interval, paired gain over the base, and win rates (ties half).

    `base` are the scores that the base's own evaluation kept; without them the scores are the base's: gain 0 and win
    rates 0.5 by definition. The other two hold both sides' scores, for a ranker's are of one comparison alone. Prompts without a score (on either side of a comparison) are
    left out. Raises InvalidInput where none is left.
    """
    mean = estimate(_both_known(scores, scores)[0])
    gain = paired_gain(*_both_known(scores, scores if base is None else base))
    return RewardFigures(
        mean_reward=mean.mean,
        mean_reward_half_width=mean.half_width,
        gain=gain.mean,
        gain_half_width=gain.half_width,
        base=EVEN if with_base is None else win_rate(*_both_known(*with_base)),
        previous=EVEN if with_previous is None else win_rate(*_both_known(*with_previous)),
    )


def _both_known(ours: MaybeScores, theirs: MaybeScores) -> tuple[list[float], list[float]]:
    known = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if not known:
        raise InvalidInput(
            "NoVerdicts",
            f"spec.scoring.scorers: of {len(ours)} held-out responses none has a score on both sides of a comparison; "
            "what a judge answered could not be read",
        )
    return [a for a, _ in known], [b for _, b in known]


@dataclass(frozen=True)
class LengthBias:
    """How far one scorer's rewards go with the responses' lengths. None: nothing can be said (all alike, too few)."""

    correlation: float | None
    """Pearson's, of reward and tokens over the held-out responses."""
    slope: float | None
    """Reward a token, by least squares over the same."""
    gain_at_equal_length: float | None
    """The part of the gain over the base that longer or shorter responses do not explain: the intercept of the paired
    gains over the paired differences of length. None for the base itself."""


def length_bias(
    scores: MaybeScores,
    tokens: Sequence[int],
    base: tuple[MaybeScores, Sequence[int]] | None,
) -> LengthBias:
    """`tokens` are the responses' lengths in the order of the scores; `base` holds the base's scores and lengths."""
    known = [(float(length), score) for length, score in zip(tokens, scores, strict=True) if score is not None]
    line = fit_line([length for length, _ in known], [score for _, score in known])
    paired = None
    if base is not None:
        differences = [
            (float(length - its_length), score - its_score)
            for score, length, its_score, its_length in zip(scores, tokens, *base, strict=True)
            if score is not None and its_score is not None
        ]
        paired = fit_line([length for length, _ in differences], [gain for _, gain in differences])
    return LengthBias(
        correlation=line.correlation if line else None,
        slope=line.slope if line else None,
        gain_at_equal_length=paired.intercept if paired else None,
    )


def preference_accuracy(policy: Sequence[HeldOutLogProbs], base: Mapping[int, HeldOutLogProbs] | None) -> float | None:
    """The share of the data's held-out pairs that the policy prefers as the data does; a tie counts half.

    An iteration prefers by its implicit reward (Rafailov et al. 2023, section 4): right where
    log π(y_w)/π₀(y_w) > log π(y_l)/π₀(y_l). The base has no implicit reward against itself; for it (`base` is None)
    the log-probs themselves are compared: log π₀(y_w) > log π₀(y_l). None where no row has a pair.
    """
    points: list[float] = []
    for held in policy:
        if held.chosen is None or held.rejected is None:
            continue
        margin = held.chosen - held.rejected
        if base is not None:
            start = base[held.row]
            if start.chosen is None or start.rejected is None:
                raise ValueError(f"row {held.row} has a pair now and had none when the base was evaluated")
            margin -= start.chosen - start.rejected
        points.append(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0)
    return math.fsum(points) / len(points) if points else None


def divergence(policy: Sequence[HeldOutLogProbs]) -> tuple[float, float]:
    """KL(π‖π₀) in nats, a response and a token: estimated on the policy's own held-out responses.

    The mean over prompts of log π(y|x) − log π₀(y|x), which is unbiased for y ~ π (temperature 1, nothing cut), and
    the same sum over all responses divided by all their tokens. At other temperatures it is the mean log-ratio of
    responses drawn as generation draws them, which orders policies alike but is no divergence in the strict sense.
    """
    ratios = [held.response - held.response_base for held in policy]
    total = math.fsum(ratios)
    return total / len(ratios), total / sum(held.response_tokens for held in policy)


def mean_log_ratio(policy: Mapping[int, Sequence[float]], reference: Mapping[int, Sequence[float]]) -> float | None:
    """The mean over rows of log π(y) − log π_ref(y): of the explored responses, what the optimism term pushes down.

    Both by row id, each response's sum in the same order; a row with several responses counts by their mean, as in the
    loss. None for no rows; raises KeyError where the reference lacks a row.
    """
    if not policy:
        return None
    ratios = [
        math.fsum(ours - theirs for ours, theirs in zip(sums, reference[row], strict=True)) / len(sums)
        for row, sums in policy.items()
    ]
    return math.fsum(ratios) / len(ratios)
