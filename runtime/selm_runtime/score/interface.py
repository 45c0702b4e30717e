"""What every scorer is: the two kinds, and what they see of a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

Message = Mapping[str, str]
"""One turn of a conversation: `role` and `content`."""


@dataclass(frozen=True)
class Scorable:
    """One response with what a scorer may look at."""

    row: int
    messages: Sequence[Message]  # the conversation up to the response
    text: str
    finish_reason: str | None = None  # stop or length; None for a response of the data
    columns: Mapping[str, str] = field(default_factory=dict)  # the row's other scalar columns
    tokens: int = 0  # of the response, its end of sequence included


class ScalarScorer(Protocol):
    """Gives each response a number of its own: higher is better."""

    @property
    def name(self) -> str:
        """The name in `spec.scoring.scorers[]`."""
        ...

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        """One finite number a response, in the given order; None where the scorer could not say.

        A function of the responses alone: neither their order nor what else is scored changes a number.
        """
        ...

    def counts(self) -> dict[str, float]:
        """What happened since the last call, by name, to be summed over chunks; for instance responses cut."""
        ...

    def close(self) -> None:
        """Frees what the scorer holds (a model's memory)."""
        ...


@dataclass(frozen=True)
class Comparisons:
    """A ranker's verdicts on the n candidates of one prompt.

    Both are n × n. `margins[i][j]` > 0 says that i is better than j, in the ranker's own unit, and is
    −`margins[j][i]`; `wins[i][j]` is the probability that i beats j, and is 1 − `wins[j][i]`. None: no verdict.
    """

    margins: Sequence[Sequence[float | None]]
    wins: Sequence[Sequence[float | None]]

    @classmethod
    def of(
        cls, n: int, margins: Mapping[tuple[int, int], float | None], probability: Callable[[float], float]
    ) -> Comparisons:
        """From the margins of the pairs i < j; `probability` is the chance to win at a margin."""
        table: list[list[float | None]] = [[0.0 if i == j else None for j in range(n)] for i in range(n)]
        for (i, j), margin in margins.items():
            table[i][j] = margin
            table[j][i] = None if margin is None else -margin
        wins = [[None if margin is None else probability(margin) for margin in row] for row in table]
        return cls(table, wins)

    def scores(self) -> list[float | None]:
        """Each candidate's mean margin over its opponents, as far as there are verdicts; None without any.

        The only candidate of a prompt has 0.
        """
        return [mean_of_others(row, i) if len(self.margins) > 1 else 0.0 for i, row in enumerate(self.margins)]


@runtime_checkable
class PairwiseRanker(Protocol):
    """Compares responses to the same prompt: its numbers mean something within a prompt only."""

    @property
    def name(self) -> str:
        """The name in `spec.scoring.scorers[]`."""
        ...

    def compare(self, prompts: Sequence[Sequence[Scorable]]) -> list[Comparisons]:
        """One verdict for each pair of each prompt's responses, both orders taken into account; equal texts tie."""
        ...

    def counts(self) -> dict[str, float]:
        """See `ScalarScorer.counts`."""
        ...

    def close(self) -> None:
        """Frees what the ranker holds."""
        ...


Scorer = ScalarScorer | PairwiseRanker


@dataclass(frozen=True)
class WeightedScorer:
    """A scorer and its weight in the sum."""

    scorer: Scorer
    weight: float


def mean_of_others(row: Sequence[float | None], own: int) -> float | None:
    """The mean of the known entries of other places than `own`; None where none is known."""
    known = [value for place, value in enumerate(row) if place != own and value is not None]
    return sum(known) / len(known) if known else None
