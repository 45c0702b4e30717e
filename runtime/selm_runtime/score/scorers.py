"""From the declared scorers to callable ones, and from their verdicts to one score a response."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selm_runtime.contract import JudgeConfig, ScorerConfig, ScoringConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score.combine import MaybeScores, Verdict, combine
from selm_runtime.score.execution import ExecutionScorer
from selm_runtime.score.interface import PairwiseRanker, Scorable, Scorer, WeightedScorer
from selm_runtime.score.pair_rm import PairRMRanker, check_pair_rm
from selm_runtime.score.reward_model import RewardModelScorer, check_reward_model
from selm_runtime.score.rules import RuleScorer, check_rule_columns, compile_rules

COMBINED = "Combined"
"""The name under which the scorers' combined score stands: no scorer's, whose names are in lower case."""


@dataclass(frozen=True)
class PromptScores:
    """Scores of several prompts' candidates, prompt by prompt: by scorer, and combined (`combine`)."""

    by_scorer: dict[str, list[MaybeScores]]
    combined: list[MaybeScores]


@dataclass(frozen=True)
class Scores:
    """Scores of one response a prompt: by scorer, and combined. None where the scorer could not say.

    A ranker's score is its margin over the base's response to the same prompt; the base's own is 0. Beside a ranker
    the combined score is of ranks against the base's response.
    """

    by_scorer: dict[str, MaybeScores]
    combined: MaybeScores

    def of(self, name: str) -> MaybeScores:
        """Of one scorer by its name, or the combined ones by `COMBINED`."""
        return self.combined if name == COMBINED else self.by_scorer[name]


def check_scoring(scoring: ScoringConfig, columns: Collection[str]) -> None:
    """What can be refused of the declared scorers before any phase runs; `columns` are those that every row has.

    Loads no model: `check_imported` says of an imported one's small files whether it can score. Raises InvalidInput
    naming the field.
    """
    for i, scorer in enumerate(scoring.scorers):
        if scorer.rules is not None:
            field = f"spec.scoring.scorers[{i}].rules"
            compile_rules(scorer.rules, field)
            check_rule_columns(scorer.rules, columns, field)
        if scorer.execution is not None and scorer.execution.tests_column not in columns:
            there = ", ".join(sorted(columns)) or "none"
            raise InvalidInput(
                "NoTests",
                f"spec.scoring.scorers[{i}].execution.testsColumn: found {scorer.execution.tests_column!r}, which not every "
                f"row has; there are: {there}",
            )


def check_imported(scoring: ScoringConfig, prefix: str, model: Path) -> None:
    """Whether a scorer's model can score, by its small files; `prefix` is that of its import, `scorers/<name>/`.

    Raises InvalidInput naming the field.
    """
    for i, scorer in enumerate(scoring.scorers):
        if prefix == f"scorers/{scorer.name}/":
            field = f"spec.scoring.scorers[{i}]"
            if scorer.reward_model is not None:
                check_reward_model(model, f"{field}.rewardModel", scorer.reward_model)
            if scorer.pair_rm is not None:
                check_pair_rm(model, f"{field}.pairRM")


BuildJudge = Callable[[ScorerConfig, JudgeConfig, str], Scorer]
"""From a scorer, its judge, and the judge's path in the spec."""


def build_scorers(
    scoring: ScoringConfig,
    fetch_model: Callable[[str], Path],
    build_judge: BuildJudge | None = None,
    between: Callable[[], None] = lambda: None,
) -> list[WeightedScorer]:
    """The run's scorers in the declared order; `fetch_model(name)` gives the local folder of a scorer's model.

    `between` is called while tests run: it may raise to stop. Raises InvalidInput for a declaration that cannot work.
    """
    return [
        WeightedScorer(
            build_scorer(scorer, f"spec.scoring.scorers[{i}]", fetch_model, build_judge, between), scorer.weight
        )
        for i, scorer in enumerate(scoring.scorers)
    ]


def build_scorer(
    config: ScorerConfig,
    field: str,
    fetch_model: Callable[[str], Path],
    build_judge: BuildJudge | None = None,
    between: Callable[[], None] = lambda: None,
) -> Scorer:
    """One scorer by its kind; `field` is its path in the spec."""
    if config.execution is not None:
        return ExecutionScorer(config.name, config.execution, f"{field}.execution", between)
    if config.judge is not None and build_judge is not None:
        return build_judge(config, config.judge, f"{field}.judge")
    if config.rules is not None:
        return RuleScorer(config.name, config.rules, f"{field}.rules")
    if config.reward_model is not None:
        return RewardModelScorer(
            config.name,
            fetch_model(config.name),
            f"{field}.rewardModel",
            config.reward_model,
        )
    if config.pair_rm is not None:
        return PairRMRanker(config.name, fetch_model(config.name), f"{field}.pairRM")
    raise InvalidInput("InvalidScorer", f"{field}: exactly one kind of scorer is needed; none is set")


def score_prompts(
    scorers: Sequence[WeightedScorer], prompts: Sequence[Sequence[Scorable]], scoring: ScoringConfig
) -> PromptScores:
    """Every scorer's scores of each prompt's candidates, and the combined ones; equal candidates are scored once.

    Raises ValueError for a score that is not finite.
    """
    distinct = [_distinct(prompt) for prompt in prompts]
    verdicts = {weighted.scorer.name: _verdicts(weighted, distinct) for weighted in scorers}
    combined = [
        combine(
            [its[i] for its in verdicts.values()],
            [scorable.tokens for scorable in its_candidates],
            rule=scoring.pairing.rule,
            length_penalty=scoring.length_penalty,
        )
        for i, its_candidates in enumerate(distinct)
    ]
    by_scorer = {
        name: _expanded(prompts, distinct, [verdict.scores for verdict in its]) for name, its in verdicts.items()
    }
    return PromptScores(by_scorer, _expanded(prompts, distinct, combined))


def score_held_out(
    scorers: Sequence[WeightedScorer],
    responses: Sequence[Scorable],
    base: Sequence[Scorable] | None,
    scoring: ScoringConfig,
) -> tuple[Scores, Scores | None]:
    """Scores of one response a prompt; rankers compare it with `base`'s response (None: these are the base's own).

    The second are the base's in the same comparison; None where no ranker compares, for a score then stands by itself.
    """
    compares = any(isinstance(weighted.scorer, PairwiseRanker) for weighted in scorers)
    others = responses if base is None else base
    prompts = [[response, other] if compares else [response] for response, other in zip(responses, others, strict=True)]
    plain = scoring.model_copy(update={"pairing": scoring.pairing.model_copy(update={"rule": "BestWorst"})})
    scores = score_prompts(scorers, prompts, plain)

    def side(place: int) -> Scores:
        return Scores(
            {name: [its[place] for its in of_prompts] for name, of_prompts in scores.by_scorer.items()},
            [its[place] for its in scores.combined],
        )

    return side(0), side(1) if compares and base is not None else None


def _verdicts(weighted: WeightedScorer, prompts: Sequence[Sequence[Scorable]]) -> list[Verdict]:
    """One a prompt."""
    scorer, weight = weighted.scorer, weighted.weight
    if isinstance(scorer, PairwiseRanker):
        return [Verdict(weight, its.scores(), its) for its in scorer.compare(prompts)]
    flat = [scorable for prompt in prompts for scorable in prompt]
    scores = scorer.score(flat)
    for response, score in zip(flat, scores, strict=True):
        if score is not None and not math.isfinite(score):
            raise ValueError(f"scorer {scorer.name} gave row {response.row} the score {score}")
    remaining = iter(scores)
    return [Verdict(weight, list(islice(remaining, len(prompt)))) for prompt in prompts]


def _key(scorable: Scorable) -> tuple[str, bool, int]:
    """What a scorer may see of a candidate, within its prompt."""
    return scorable.text, scorable.finish_reason == "length", scorable.tokens


def _distinct(prompt: Sequence[Scorable]) -> list[Scorable]:
    return list({_key(scorable): scorable for scorable in reversed(prompt)}.values())[::-1]


def _expanded(
    prompts: Sequence[Sequence[Scorable]],
    distinct: Sequence[Sequence[Scorable]],
    scores: Sequence[Sequence[float | None]],
) -> list[MaybeScores]:
    """The distinct candidates' scores at all candidates' places."""
    expanded = []
    for prompt, its_distinct, its_scores in zip(prompts, distinct, scores, strict=True):
        of = {_key(scorable): score for scorable, score in zip(its_distinct, its_scores, strict=True)}
        expanded.append([of[_key(scorable)] for scorable in prompt])
    return expanded


def counts_of(scorers: Sequence[WeightedScorer]) -> dict[str, float]:
    """What the scorers counted since the last call, as `scorer.<name>.<what>`."""
    counts: Counter[str] = Counter()
    for weighted in scorers:
        counts.update({f"scorer.{weighted.scorer.name}.{what}": n for what, n in weighted.scorer.counts().items()})
    return dict(counts)


def close_all(scorers: Sequence[WeightedScorer]) -> None:
    """Frees what the scorers hold."""
    for weighted in scorers:
        weighted.scorer.close()
