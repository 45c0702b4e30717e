"""What every scorer is: the kinds, and what they see of a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

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


class ScalarScorer(Protocol):
    """Gives each response a number of its own: higher is better.

    Pairwise rankers, which give numbers to pairs of responses, are another kind with a protocol of their own; they
    are combined with scalar scorers by ranks within a prompt, never by adding unlike scales.
    """

    @property
    def name(self) -> str:
        """The name in `spec.scoring.scorers[]`."""
        ...

    def score(self, responses: Sequence[Scorable]) -> list[float]:
        """One finite number a response, in the given order; a pure function of the responses."""
        ...

    def close(self) -> None:
        """Frees what the scorer holds (a model's memory)."""
        ...


@dataclass(frozen=True)
class WeightedScorer:
    """A scorer and its weight in the sum."""

    scorer: ScalarScorer
    weight: float
