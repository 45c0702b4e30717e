"""Rules about `spec.evaluation`: what `selectBy` may name; see `rules.py`."""

from __future__ import annotations

from functools import partial
from typing import Any

from selm_operator.api.rule import BaseRule, Rule
from selm_operator.api.spec import SELMRunSpec


def _may_mean_reward(spec: SELMRunSpec) -> bool:
    by = spec.evaluation.select_by
    return by.metric != "MeanReward" or all(
        s.reward_model is not None
        or s.rules is not None
        or s.execution is not None
        or (by.scorer is not None and s.name != by.scorer)
        for s in spec.scoring.scorers
    )


_SUITES = {
    "LMEval": ("lmEval", "lm_eval"),
    "AlpacaEval": ("alpacaEval", "alpaca_eval"),
    "MTBench": ("mtBench", "mt_bench"),
}
"""Suites that `selectBy.metric` may name, and the field of `spec.evaluation` with each: its alias and its name."""


def _selects_by_a_suite_that_is_run(spec: SELMRunSpec, metric: str) -> bool:
    by = spec.evaluation.select_by.metric
    return by != metric or getattr(spec.evaluation, _SUITES[metric][1]) is not None


_SUITE_RULES: tuple[BaseRule[Any], ...] = tuple(
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=f"self.evaluation.selectBy.metric != '{metric}' || has(self.evaluation.{alias})",
        message=f"`evaluation.selectBy.metric` may be {metric} only where `evaluation.{alias}` is given",
        at=".evaluation.selectBy.metric",
        holds=partial(_selects_by_a_suite_that_is_run, metric=metric),
    )
    for metric, (alias, _) in _SUITES.items()
)

EVALUATION_RULES: tuple[BaseRule[Any], ...] = (
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "!has(self.evaluation.selectBy.scorer) || "
            "self.scoring.scorers.exists(s, s.name == self.evaluation.selectBy.scorer)"
        ),
        message="`evaluation.selectBy.scorer` must be the name of one of `scoring.scorers`",
        at=".evaluation.selectBy.scorer",
        holds=lambda spec: (
            spec.evaluation.select_by.scorer is None
            or any(s.name == spec.evaluation.select_by.scorer for s in spec.scoring.scorers)
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.evaluation.selectBy.metric != 'MeanReward' || self.scoring.scorers.all(s, has(s.rewardModel) || "
            "has(s.rules) || has(s.execution) || "
            "(has(self.evaluation.selectBy.scorer) && s.name != self.evaluation.selectBy.scorer))"
        ),
        message=(
            "`evaluation.selectBy.metric` may be MeanReward only with a scalar scorer: "
            "`rewardModel`, `rules` or `execution`"
        ),
        at=".evaluation.selectBy.metric",
        holds=_may_mean_reward,
    ),
    *_SUITE_RULES,
)
