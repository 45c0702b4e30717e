"""Rules about `spec.scoring`: the kinds of scorers, who runs them, and what pairs are made; see `rules.py`."""

from __future__ import annotations

from typing import Any

from selm_operator.api.rule import BaseRule, Rule, exactly_one_of, present
from selm_operator.api.scoring import JudgeScorer, RewardModelScorer, Scorer
from selm_operator.api.spec import SELMRunSpec


def _pooled(scorer: Scorer) -> bool:
    return scorer.reward_model is not None and scorer.reward_model.engine == "VLLM"


def _one_engine(spec: SELMRunSpec) -> bool:
    pooled = sum(map(_pooled, spec.scoring.scorers))
    judging = sum(s.judge is not None and s.judge.policy is not None for s in spec.scoring.scorers)
    return pooled == 0 or pooled + judging == 1


SCORING_RULES: tuple[BaseRule[Any], ...] = (
    Rule[Scorer](
        on=Scorer,
        cel=exactly_one_of("pairRM", "rewardModel", "judge", "rules", "execution"),
        message=("`scorers[]` must have exactly one of `pairRM`, `rewardModel`, `judge`, `rules`, `execution`"),
        holds=lambda s: present(s.pair_rm, s.reward_model, s.judge, s.rules, s.execution) == 1,
    ),
    Rule[JudgeScorer](
        on=JudgeScorer,
        cel=(
            "has(self.policy) ? !has(self.endpoint) && !has(self.model) && !has(self.apiKeySecretRef) : "
            "has(self.endpoint) && has(self.model)"
        ),
        message="`judge` must have `endpoint` and `model`, or `policy` and none of `endpoint`, `model`, `apiKeySecretRef`",
        holds=lambda judge: (
            present(judge.endpoint, judge.model) == 2
            if judge.policy is None
            else present(judge.endpoint, judge.model, judge.api_key_secret_ref) == 0
        ),
    ),
    Rule[RewardModelScorer](
        on=RewardModelScorer,
        cel="!has(self.engine) || self.engine != 'VLLM' || !has(self.objectives)",
        message="`rewardModel.engine` may be VLLM only without `objectives`: several outputs are weighed in transformers",
        at=".engine",
        holds=lambda model: model.engine != "VLLM" or model.objectives is None,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        # Policies that judge one after the other start with their first question: of them there may be several.
        cel=(
            "!self.scoring.scorers.exists(s, has(s.rewardModel) && has(s.rewardModel.engine) && "
            "s.rewardModel.engine == 'VLLM') || self.scoring.scorers.filter(s, has(s.judge) && has(s.judge.policy) || "
            "has(s.rewardModel) && has(s.rewardModel.engine) && s.rewardModel.engine == 'VLLM').size() == 1"
        ),
        message=(
            "`scoring.scorers[].rewardModel.engine` may be VLLM for one scorer only, and not beside a `judge.policy`: "
            "a pod has one engine"
        ),
        at=".scoring.scorers",
        holds=_one_engine,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.scoring.pairing.offline != 'Exclude' || "
            "self.generation.samplesPerPrompt * self.generation.policies.size() >= 2"
        ),
        message=(
            "`scoring.pairing.offline` may be Exclude only where `generation.samplesPerPrompt` times the number of "
            "`generation.policies` is at least 2"
        ),
        at=".scoring.pairing.offline",
        holds=lambda spec: (
            spec.scoring.pairing.offline != "Exclude"
            or spec.generation.samples_per_prompt * len(spec.generation.policies) >= 2
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.scoring.pairing.offline != 'Exclude' || self.schedule.all(e, !has(e.samplesPerPrompt) || "
            "e.samplesPerPrompt * self.generation.policies.size() >= 2)"
        ),
        message=(
            "`schedule[].samplesPerPrompt` times the number of `generation.policies` must be at least 2 "
            "where `scoring.pairing.offline` is Exclude"
        ),
        at=".schedule",
        holds=lambda spec: (
            spec.scoring.pairing.offline != "Exclude"
            or all(
                e.samples_per_prompt is None or e.samples_per_prompt * len(spec.generation.policies) >= 2
                for e in spec.schedule
            )
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.data.format != 'Prompts' || self.scoring.pairing.offline == 'Exclude'",
        message=("`scoring.pairing.offline` must be Exclude where `data.format` is Prompts: there is no offline pair"),
        at=".scoring.pairing.offline",
        holds=lambda spec: spec.data.format != "Prompts" or spec.scoring.pairing.offline == "Exclude",
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.scoring.pairing.rule != 'TwoPolicy' || self.generation.policies.exists(p, p == 'Reference')",
        message="`generation.policies` must hold Reference where `scoring.pairing.rule` is TwoPolicy",
        at=".generation.policies",
        holds=lambda spec: spec.scoring.pairing.rule != "TwoPolicy" or "Reference" in spec.generation.policies,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "!has(self.scoring.pairing.lengthControl) || "
            "self.scoring.pairing.rule == 'BestWorst' || self.scoring.pairing.rule == 'MaxMinProbability'"
        ),
        message=(
            "`scoring.pairing.lengthControl` may be set only where `scoring.pairing.rule` is BestWorst or "
            "MaxMinProbability"
        ),
        at=".scoring.pairing.lengthControl",
        holds=lambda spec: (
            spec.scoring.pairing.length_control is None
            or spec.scoring.pairing.rule in ("BestWorst", "MaxMinProbability")
        ),
    ),
)
