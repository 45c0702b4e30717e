"""Pairing rules: which of a prompt's candidates become chosen and rejected. Pure functions.

Candidates stand in a declared order: the policy's samples (`Current:0`, `Current:1`, …), the reference's, then the
data's own pair (`offline:chosen`, `offline:rejected`). The rules:

- **BestWorst**: the highest score is chosen, the lowest rejected: the best and worst of three of Zhang et al. 2024
  (2405.19332, section 4.2), `max_min` of RLHF Workflow (Dong et al. 2024, 2405.07863).
- **MaxMax**: the highest against the next lower score (`max_max` there: the second in order of score).
- **MaxRandom**: the highest against one of those below it, drawn from the run's seed (`max_random` there, which takes the
  first other one: the same where candidates are exchangeable samples, which the data's own pair is not).

  Both drop a prompt in the published code where that other one happens to share the highest score. Nothing is preferred
  within a tie, but the worse candidates are still worse: here the rejected one is sought among these, so that a prompt
  is `tied` only where there are none. It matters for scorers of few values (tests, grades, verdicts).
- **MaxMinProbability**: BestWorst on the mean probability of beating the prompt's other candidates, as Wu et al. 2024
  (SPPO, 2405.00675) estimate it with PairRM; `minMargin` then is a difference of probabilities. (The rule `max_min_p`
  of RLHF Workflow is another: BestWorst with a length penalty, here `BestWorst` with `lengthPenalty`.)
- **TwoPolicy**: one response of the current policy against one of the reference, as XPO (Xie et al. 2024, 2405.21046)
  and algorithm 2 of Zhang et al. compare them; of several samples the two that lie furthest apart. The data's own pair
  is of neither policy and takes no part.

What holds for all of them:

- **Identical candidates** (equal token ids) count once; the first in the declared order stays.
- **Ties**: of several best the first in the declared order is chosen, of several worst the last is rejected.
- **Empty responses** (no text but space) and **truncated** ones (they ran into `maxTokens`) are candidates like others
  (`Candidate`), can only be rejected (`RejectOnly`), or are left out (`Exclude`).
- **Unscored candidates** (a judge gave no readable verdict) are left out: no score is guessed.
- **Length control** with ρ (Wu et al. 2024, Meta-Rewarding, 2407.19594): chosen is the shortest of those whose score
  is at most ρ of the prompt's range of scores below the best, rejected the longest of those as near to the worst.
- **No pair**: `NoPair` says why. The prompt is dropped and counted by its reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from selm_runtime.contract import PairingConfig

OFFLINE_CHOSEN = "offline:chosen"
OFFLINE_REJECTED = "offline:rejected"
EXPLORED_SOURCE = "Current:0"
"""The current policy's first sample: what the exploring term acts on unless the objective says otherwise."""

Draw = Callable[[int], int]
"""Of n things the index of one, by chance that a seed decides."""


@dataclass(frozen=True)
class Candidate:
    """A response to one prompt; `ids` are its token ids as generated or, for the data's, as encoded."""

    source: str  # offline:chosen, offline:rejected, <policy>:<sample>
    ids: tuple[int, ...]
    text: str
    finish_reason: str | None
    score: float | None  # None: no scorer could say

    @property
    def generated(self) -> bool:
        """Whether a policy made it (and not the data)."""
        return self.policy != "offline"

    @property
    def policy(self) -> str:
        """Current, Reference, or offline."""
        return self.source.partition(":")[0]

    @property
    def empty(self) -> bool:
        """Whether it has no text but space."""
        return not self.text.strip()

    @property
    def truncated(self) -> bool:
        """Whether generation cut it."""
        return self.finish_reason == "length"

    @property
    def known_score(self) -> float:
        """The score. Raises ValueError where there is none."""
        if self.score is None:
            raise ValueError(f"candidate {self.source} has no score")
        return self.score


class NoPair(StrEnum):
    """Why a prompt has no pair; the values are the names under which they are counted."""

    SINGLE_CANDIDATE = "singleCandidate"  # fewer than two distinct candidates (TwoPolicy: not one of each policy)
    UNSCORED = "unscored"  # there were two, before those without a score were left out
    NONE_TO_CHOOSE = "noneToChoose"  # all are empty or truncated, and the pairing chooses none of those
    TIED = "tied"  # equal scores
    BELOW_MARGIN = "belowMargin"  # a difference below `minMargin`


@dataclass(frozen=True)
class Choice:
    """What a pairing rule says of one prompt: a pair, or why there is none."""

    chosen: Candidate | None = None
    rejected: Candidate | None = None
    no_pair: NoPair | None = None
    identical: int = 0  # candidates that were left out as copies of an earlier one
    tied_best: bool = False  # several candidates shared the chosen one's score, and the order decided
    tied_worst: bool = False

    @property
    def margin(self) -> float:
        """Chosen score less rejected score. Raises ValueError where there is no pair."""
        if self.chosen is None or self.rejected is None:
            raise ValueError("a prompt without a pair has no margin")
        return self.chosen.known_score - self.rejected.known_score


def choose(candidates: Sequence[Candidate], pairing: PairingConfig, draw: Draw) -> Choice:
    """Applies the rule to one prompt's candidates, which stand in the declared order.

    Raises ValueError for a score that is not finite.
    """
    for candidate in candidates:
        if candidate.score is not None and not math.isfinite(candidate.score):
            raise ValueError(
                f"candidate {candidate.source} has the score {candidate.score}; only finite scores are allowed"
            )
    distinct = list({candidate.ids: candidate for candidate in reversed(candidates)}.values())[::-1]
    identical = len(candidates) - len(distinct)
    there = [candidate for candidate in distinct if _treatment(candidate, pairing) != "Exclude"]
    scored = [candidate for candidate in there if candidate.score is not None]
    choosable = [candidate for candidate in scored if _treatment(candidate, pairing) == "Candidate"]
    if not _can_pair(there, pairing):
        return Choice(no_pair=NoPair.SINGLE_CANDIDATE, identical=identical)
    if not _can_pair(scored, pairing):
        return Choice(no_pair=NoPair.UNSCORED, identical=identical)
    pair = _RULES[pairing.rule](scored, choosable, pairing, draw)
    if pair is None:
        return Choice(no_pair=NoPair.NONE_TO_CHOOSE, identical=identical)
    chosen, rejected = pair
    margin = chosen.known_score - rejected.known_score
    if margin == 0:
        return Choice(no_pair=NoPair.TIED, identical=identical)
    if margin < pairing.min_margin:
        return Choice(no_pair=NoPair.BELOW_MARGIN, identical=identical)
    return Choice(
        chosen=chosen,
        rejected=rejected,
        identical=identical,
        tied_best=_sharing(choosable, chosen) > 1,
        tied_worst=pairing.rule != "MaxRandom" and _sharing(scored, rejected) > 1,
    )


Pair = tuple[Candidate, Candidate]
"""Chosen and rejected; their scores may be equal, which makes no pair."""


def _best_worst(
    scored: Sequence[Candidate], choosable: Sequence[Candidate], pairing: PairingConfig, _: Draw
) -> Pair | None:
    if pairing.length_control is not None:
        return _length_controlled(scored, choosable, pairing.length_control)
    if not choosable:
        return None
    chosen = _best(choosable)
    below = _not_above(scored, chosen)
    return (chosen, _worst(below)) if below else None


def _max_max(scored: Sequence[Candidate], choosable: Sequence[Candidate], _: PairingConfig, __: Draw) -> Pair | None:
    if not choosable:
        return None
    chosen = _best(choosable)
    worse = _worse(scored, chosen)
    return (chosen, _best(worse)) if worse else None


def _max_random(
    scored: Sequence[Candidate], choosable: Sequence[Candidate], _: PairingConfig, draw: Draw
) -> Pair | None:
    if not choosable:
        return None
    chosen = _best(choosable)
    worse = _worse(scored, chosen)
    return (chosen, worse[draw(len(worse))]) if worse else None


def _two_policy(scored: Sequence[Candidate], choosable: Sequence[Candidate], _: PairingConfig, __: Draw) -> Pair | None:
    pairs = [
        (first, second) if first.known_score >= second.known_score else (second, first)
        for first in _of(scored, "Current")
        for second in _of(scored, "Reference")
    ]
    possible = [(chosen, rejected) for chosen, rejected in pairs if chosen in choosable]
    return max(possible, key=lambda pair: pair[0].known_score - pair[1].known_score, default=None)


def _length_controlled(scored: Sequence[Candidate], choosable: Sequence[Candidate], share: float) -> Pair | None:
    if not choosable:
        return None
    best, worst = _best(choosable).known_score, _worst(scored).known_score
    if best <= worst:
        below = _not_above(scored, _best(choosable))
        return (_best(choosable), _worst(below)) if below else None
    reach = share * (best - worst)
    top = [candidate for candidate in choosable if candidate.known_score >= best - reach]
    bottom = [candidate for candidate in scored if candidate.known_score <= worst + reach]
    return (
        min(top, key=lambda candidate: (len(candidate.ids), -candidate.known_score)),
        max(bottom[::-1], key=lambda candidate: (len(candidate.ids), -candidate.known_score)),
    )


_RULES: dict[str, Callable[[Sequence[Candidate], Sequence[Candidate], PairingConfig, Draw], Pair | None]] = {
    "BestWorst": _best_worst,
    "MaxMax": _max_max,
    "MaxRandom": _max_random,
    "MaxMinProbability": _best_worst,  # the scores are the probabilities: `combine.combine`
    "TwoPolicy": _two_policy,
}


def _treatment(candidate: Candidate, pairing: PairingConfig) -> str:
    """The stricter of what is declared for empty and for truncated responses."""
    found = {
        pairing.empty if candidate.empty else "Candidate",
        pairing.truncated if candidate.truncated else "Candidate",
    }
    return next(treatment for treatment in ("Exclude", "RejectOnly", "Candidate") if treatment in found)


def _can_pair(candidates: Sequence[Candidate], pairing: PairingConfig) -> bool:
    if pairing.rule == "TwoPolicy":
        return bool(_of(candidates, "Current") and _of(candidates, "Reference"))
    return len(candidates) >= 2


def _of(candidates: Iterable[Candidate], policy: str) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.policy == policy]


def _best(candidates: Sequence[Candidate]) -> Candidate:
    """The first of the best."""
    return max(candidates, key=lambda candidate: candidate.known_score)


def _worst(candidates: Sequence[Candidate]) -> Candidate:
    """The last of the worst."""
    return min(candidates[::-1], key=lambda candidate: candidate.known_score)


def _not_above(scored: Iterable[Candidate], chosen: Candidate) -> list[Candidate]:
    """What may be rejected for the chosen: the others, less those that may not be chosen and outscore it."""
    return [other for other in scored if other is not chosen and other.known_score <= chosen.known_score]


def _worse(scored: Iterable[Candidate], chosen: Candidate) -> list[Candidate]:
    """Those of `_not_above` with a lower score; where all share the chosen one's, these, which makes a tie."""
    there = _not_above(scored, chosen)
    return [other for other in there if other.known_score < chosen.known_score] or there


def _sharing(candidates: Iterable[Candidate], one: Candidate) -> int:
    return sum(candidate.score == one.score for candidate in candidates)


def explored_first(candidates: Sequence[Candidate]) -> Candidate:
    """The explored response. Raises ValueError where the policy's first sample is not among the candidates."""
    for candidate in candidates:
        if candidate.source == EXPLORED_SOURCE:
            return candidate
    there = ", ".join(candidate.source for candidate in candidates)
    raise ValueError(f"no candidate {EXPLORED_SOURCE} to explore; there are: {there}")
