"""How several scorers' verdicts on one prompt's candidates become one score each. Pure functions.

- **Scalar scorers only**: the sum of score × weight.
- **One ranker only**: its score (the mean margin over the prompt's other candidates) × weight.
- **A ranker beside others**: their scales have nothing in common, so each scorer's scores become ranks within the
  prompt, 0 for the worst to 1 for the best, ties at their mean; then the sum of rank × weight.
- **For `MaxMinProbability`**: the mean probability of beating the prompt's other candidates. A ranker gives it; two
  scalar scores a and b give σ(a − b) (Bradley–Terry); over scorers it is the mean by weight, a negative weight
  counting the other way round.

Then `lengthPenalty` × the response's tokens is taken off. A candidate that one scorer could not score has no score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selm_runtime.score.interface import Comparisons, mean_of_others

MaybeScores = list[float | None]


@dataclass(frozen=True)
class Verdict:
    """What one scorer says of one prompt's candidates; `comparisons` are a ranker's."""

    weight: float
    scores: Sequence[float | None]
    comparisons: Comparisons | None = None


def combine(
    verdicts: Sequence[Verdict], tokens: Sequence[int], *, rule: str = "BestWorst", length_penalty: float = 0.0
) -> MaybeScores:
    """One score a candidate; `tokens` are the candidates' lengths, `rule` the pairing's."""
    if rule == "MaxMinProbability":
        combined = mean_win_probabilities(verdicts, len(tokens))
    else:
        combined = weighted_sum(verdicts, len(tokens))
    return [
        None if score is None else score - length_penalty * length
        for score, length in zip(combined, tokens, strict=True)
    ]


def weighted_sum(verdicts: Sequence[Verdict], n: int) -> MaybeScores:
    """Of the scores, or of their ranks where unlike scales meet."""
    unlike = len(verdicts) > 1 and any(verdict.comparisons is not None for verdict in verdicts)
    columns = [ranks(verdict.scores) if unlike else list(verdict.scores) for verdict in verdicts]
    total: MaybeScores = [0.0] * n
    for verdict, column in zip(verdicts, columns, strict=True):
        total = [
            None if so_far is None or score is None else so_far + verdict.weight * score
            for so_far, score in zip(total, column, strict=True)
        ]
    return total


def ranks(scores: Sequence[float | None]) -> MaybeScores:
    """0 for the lowest to 1 for the highest, ties at their mean, evenly spaced; 0.5 for a lone score."""
    known = [score for score in scores if score is not None]
    return [None if score is None else _rank(score, known) for score in scores]


def _rank(score: float, known: Sequence[float]) -> float:
    if len(known) == 1:
        return 0.5
    below = sum(other < score for other in known)
    equal = sum(other == score for other in known) - 1
    return (below + equal / 2) / (len(known) - 1)


def mean_win_probabilities(verdicts: Sequence[Verdict], n: int) -> MaybeScores:
    """Each candidate's mean over the others of the probability to beat them; 0.5 for a lone candidate."""
    total = math.fsum(abs(verdict.weight) for verdict in verdicts)
    if n == 1:
        return [0.5 if all(verdict.scores[0] is not None for verdict in verdicts) else None]
    table: list[MaybeScores] = [[0.5] * n for _ in range(n)]
    for verdict in verdicts if total else ():
        for i in range(n):
            for j in range(n):
                wins, so_far = _wins(verdict, i, j), table[i][j]
                table[i][j] = None if wins is None or so_far is None else so_far + verdict.weight / total * (wins - 0.5)
    return [mean_of_others(row, i) for i, row in enumerate(table)]


def _wins(verdict: Verdict, i: int, j: int) -> float | None:
    if verdict.comparisons is not None:
        return verdict.comparisons.wins[i][j]
    first, second = verdict.scores[i], verdict.scores[j]
    return None if first is None or second is None else sigmoid(first - second)


def sigmoid(x: float) -> float:
    """1 / (1 + e^−x), without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
