"""The policy's held-out responses against those of the iteration before, by every scorer.

A scalar score stands by itself, so what both evaluations kept is compared. A ranker's score is a margin over the base's
response: two such margins say little of each other, so a ranker is asked about the two responses themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from selm_runtime.contract import ScoringConfig
from selm_runtime.evaluate.history import Past
from selm_runtime.evaluate.measures import MaybeScores
from selm_runtime.score.interface import PairwiseRanker, Scorable, WeightedScorer
from selm_runtime.score.scorers import COMBINED, Scores, score_prompts

Duel = tuple[MaybeScores, MaybeScores]
"""Both sides' scores of the same prompts, in their order: ours, the previous iteration's."""


def duels_with_previous(
    scorers: Sequence[WeightedScorer],
    scores: Scores,
    responses: Sequence[Scorable],
    previous: Sequence[Scorable] | None,
    past: Past,
    scoring: ScoringConfig,
) -> dict[str, Duel]:
    """By scorer's name (and `COMBINED`); empty for the base.

    `previous` are the responses of the iteration before; None where they are the base's, with which `scores` compares
    already.
    """
    if past.previous_rewards is None:
        return {}
    ranks = any(isinstance(weighted.scorer, PairwiseRanker) for weighted in scorers)
    if not ranks or previous is None:
        return {name: (scores.of(name), past.previous_rewards[name]) for name in (COMBINED, *scores.by_scorer)}
    prompts = [list(pair) for pair in zip(responses, previous, strict=True)]
    plain = scoring.model_copy(update={"pairing": scoring.pairing.model_copy(update={"rule": "BestWorst"})})
    found = score_prompts(scorers, prompts, plain)
    by_name = {COMBINED: found.combined, **found.by_scorer}
    return {name: ([ours for ours, _ in its], [theirs for _, theirs in its]) for name, its in by_name.items()}
