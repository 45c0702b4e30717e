"""The policy's held-out responses against the base's and those of the iteration before, by every scorer.

A scalar score stands by itself, so what both evaluations kept is compared. A ranker's score is a margin over the other
response, and so are ranks that are combined with it: two margins over a third response say little of each other, and a
length penalty weighs otherwise beside one margin than beside two. So both sides' scores come from one comparison, as
Scoring's pairs do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selm_runtime.contract import ScoringConfig
from selm_runtime.evaluate.history import Past
from selm_runtime.evaluate.measures import MaybeScores
from selm_runtime.score.interface import PairwiseRanker, Scorable, WeightedScorer
from selm_runtime.score.scorers import COMBINED, Scores, score_prompts

Duel = tuple[MaybeScores, MaybeScores]
"""Both sides' scores of the same prompts, in their order: ours, the other's."""


def duels_with_base(scores: Scores, base: Scores | None, past: Past) -> dict[str, Duel]:
    """By scorer's name (and `COMBINED`); empty for the base itself.

    `base` are the base's scores in the comparison that `scores` come from; None where none was needed.
    """
    if past.base_rewards is None:
        return {}
    theirs = past.base_rewards if base is None else {name: base.of(name) for name in past.base_rewards}
    return {name: (scores.of(name), theirs[name]) for name in (COMBINED, *scores.by_scorer)}


def duels_with_previous(
    scorers: Sequence[WeightedScorer],
    scores: Scores,
    responses: Sequence[Scorable],
    previous: Sequence[Scorable] | None,
    past: Past,
    scoring: ScoringConfig,
    with_base: Mapping[str, Duel],
) -> Mapping[str, Duel]:
    """By scorer's name (and `COMBINED`); empty for the base.

    `previous` are the responses of the iteration before; None where they are the base's, and `with_base` is the answer.
    """
    if past.previous_rewards is None or previous is None:
        return with_base
    ranks = any(isinstance(weighted.scorer, PairwiseRanker) for weighted in scorers)
    if not ranks:
        return {name: (scores.of(name), past.previous_rewards[name]) for name in (COMBINED, *scores.by_scorer)}
    prompts = [list(pair) for pair in zip(responses, previous, strict=True)]
    plain = scoring.model_copy(update={"pairing": scoring.pairing.model_copy(update={"rule": "BestWorst"})})
    found = score_prompts(scorers, prompts, plain)
    by_name = {COMBINED: found.combined, **found.by_scorer}
    return {name: ([ours for ours, _ in its], [theirs for _, theirs in its]) for name, its in by_name.items()}
