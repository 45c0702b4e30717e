"""Pairing rules: which of a prompt's candidates become chosen and rejected. Pure functions.

Candidates stand in a declared order: the policy's samples (`Current:0`, `Current:1`, …), the reference's, then the
data's own pair (`offline:chosen`, `offline:rejected`). The rules of every pairing:

- **Identical candidates** (equal token ids) count once; the first in the declared order stays.
- **Ties**: of several best the first in the declared order is chosen, of several worst the last is rejected.
- **No pair**: fewer than two distinct candidates, best and worst equal, or a difference below `minMargin`. The prompt
  is dropped and counted by its reason.
- **Empty responses** are candidates like others; what they are worth is the scorers' matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

OFFLINE_CHOSEN = "offline:chosen"
OFFLINE_REJECTED = "offline:rejected"
EXPLORED_SOURCE = "Current:0"
"""The current policy's first sample: what the exploring term acts on unless the objective says otherwise."""


@dataclass(frozen=True)
class Candidate:
    """A response to one prompt; `ids` are its token ids as generated or, for the data's, as encoded."""

    source: str  # offline:chosen, offline:rejected, <policy>:<sample>
    ids: tuple[int, ...]
    text: str
    finish_reason: str | None
    score: float

    @property
    def generated(self) -> bool:
        """Whether a policy made it (and not the data)."""
        return not self.source.startswith("offline:")


class NoPair(StrEnum):
    """Why a prompt has no pair; the values are the names under which they are counted."""

    SINGLE_CANDIDATE = "singleCandidate"
    TIED = "tied"
    BELOW_MARGIN = "belowMargin"


@dataclass(frozen=True)
class Choice:
    """What a pairing rule says of one prompt: a pair, or why there is none."""

    chosen: Candidate | None = None
    rejected: Candidate | None = None
    no_pair: NoPair | None = None
    identical: int = 0  # candidates that were left out as copies of an earlier one
    tied_best: bool = False  # several candidates shared the best score
    tied_worst: bool = False

    @property
    def margin(self) -> float:
        """Chosen score less rejected score. Raises ValueError where there is no pair."""
        if self.chosen is None or self.rejected is None:
            raise ValueError("a prompt without a pair has no margin")
        return self.chosen.score - self.rejected.score


def best_worst(candidates: Sequence[Candidate], min_margin: float = 0.0) -> Choice:
    """`BestWorst`: the highest score is chosen, the lowest rejected (the paper's best and worst of three, section 4.2).

    `candidates` stand in the declared order. Raises ValueError for a score that is not finite.
    """
    for candidate in candidates:
        if not math.isfinite(candidate.score):
            raise ValueError(
                f"candidate {candidate.source} has the score {candidate.score}; only finite scores are allowed"
            )
    distinct = list({candidate.ids: candidate for candidate in reversed(candidates)}.values())[::-1]
    identical = len(candidates) - len(distinct)
    if len(distinct) < 2:
        return Choice(no_pair=NoPair.SINGLE_CANDIDATE, identical=identical)
    scores = [candidate.score for candidate in distinct]
    best, worst = max(scores), min(scores)
    if best == worst:
        return Choice(no_pair=NoPair.TIED, identical=identical)
    if best - worst < min_margin:
        return Choice(no_pair=NoPair.BELOW_MARGIN, identical=identical)
    return Choice(
        chosen=next(candidate for candidate in distinct if candidate.score == best),
        rejected=next(candidate for candidate in reversed(distinct) if candidate.score == worst),
        identical=identical,
        tied_best=scores.count(best) > 1,
        tied_worst=scores.count(worst) > 1,
    )


def explored_first(candidates: Sequence[Candidate]) -> Candidate:
    """The explored response. Raises ValueError where the policy's first sample is not among the candidates."""
    for candidate in candidates:
        if candidate.source == EXPLORED_SOURCE:
            return candidate
    there = ", ".join(candidate.source for candidate in candidates)
    raise ValueError(f"no candidate {EXPLORED_SOURCE} to explore; there are: {there}")
