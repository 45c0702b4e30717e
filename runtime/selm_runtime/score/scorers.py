"""From the declared scorers to callable ones, and their weighted sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from selm_runtime.contract import ScorerConfig, ScoringConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score.interface import ScalarScorer, Scorable, WeightedScorer
from selm_runtime.score.rules import RuleScorer, check_rule_columns, compile_rules

COMBINED = "Combined"
"""The name under which the weighted sum of all scorers stands: no scorer's, whose names are in lower case."""


@dataclass(frozen=True)
class Scores:
    """Scores of the same responses: by scorer, and their weighted sum."""

    by_scorer: dict[str, list[float]]
    combined: list[float]

    def of(self, name: str) -> list[float]:
        """Of one scorer by its name, or the sum by `COMBINED`."""
        return self.combined if name == COMBINED else self.by_scorer[name]


def check_scoring(scoring: ScoringConfig, columns: Collection[str]) -> None:
    """What can be refused of the declared scorers before any phase runs; `columns` are those that every row has.

    Loads no model: `reward_model.check_labels` says of an imported one's config.json whether it can score. Raises
    InvalidInput naming the field.
    """
    for i, scorer in enumerate(scoring.scorers):
        if scorer.rules is not None:
            field = f"spec.scoring.scorers[{i}].rules"
            compile_rules(scorer.rules, field)
            check_rule_columns(scorer.rules, columns, field)


def build_scorers(scoring: ScoringConfig, fetch_model: Callable[[str], Path]) -> list[WeightedScorer]:
    """The run's scorers in the declared order; `fetch_model(name)` gives the local folder of a reward model.

    Raises InvalidInput for a declaration that cannot work.
    """
    return [
        WeightedScorer(build_scorer(scorer, f"spec.scoring.scorers[{i}]", fetch_model), scorer.weight)
        for i, scorer in enumerate(scoring.scorers)
    ]


def build_scorer(config: ScorerConfig, field: str, fetch_model: Callable[[str], Path]) -> ScalarScorer:
    """One scorer by its kind; `field` is its path in the spec."""
    if config.rules is not None:
        return RuleScorer(config.name, config.rules, f"{field}.rules")
    if config.reward_model is not None:
        from selm_runtime.score.reward_model import RewardModelScorer

        return RewardModelScorer(
            config.name,
            fetch_model(config.name),
            f"{field}.rewardModel.uri",
            trust_remote_code=config.reward_model.trust_remote_code,
        )
    raise InvalidInput("InvalidScorer", f"{field}: exactly one of `rewardModel` and `rules` is needed; neither is set")


def score_all(scorers: Sequence[WeightedScorer], responses: Sequence[Scorable]) -> Scores:
    """Every scorer's scores and their sum, score × weight. Raises ValueError for a score that is not finite."""
    by_scorer: dict[str, list[float]] = {}
    combined = [0.0] * len(responses)
    for weighted in scorers:
        scores = weighted.scorer.score(responses)
        for response, score in zip(responses, scores, strict=True):
            if not math.isfinite(score):
                raise ValueError(f"scorer {weighted.scorer.name} gave row {response.row} the score {score}")
        by_scorer[weighted.scorer.name] = scores
        combined = [total + weighted.weight * score for total, score in zip(combined, scores, strict=True)]
    return Scores(by_scorer, combined)


def close_all(scorers: Sequence[WeightedScorer]) -> None:
    """Frees what the scorers hold."""
    for weighted in scorers:
        weighted.scorer.close()
