"""Rules about `spec.training` and what it trains on; see `rules.py`."""

from __future__ import annotations

from typing import Any

from selm_operator.api.inspection import field_of
from selm_operator.api.objective import ObjectiveSpec
from selm_operator.api.rule import BaseRule, Rule
from selm_operator.api.spec import SELMRunSpec
from selm_runtime.contract import OBJECTIVE_PARAMETERS

EXPLORING = ("SELM", "XPO", "VPO", "SEPOPO", "GEB")
"""Objectives with a term on the policy's own responses."""


def _only_with_its_type(kind: str, alias: str) -> Rule[SELMRunSpec]:
    name = field_of(ObjectiveSpec, alias).name

    def holds(spec: SELMRunSpec) -> bool:
        objective = spec.training.objective
        return getattr(objective, name) is None or objective.type == kind

    return Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=f"!has(self.training.objective.{alias}) || self.training.objective.type == '{kind}'",
        message=f"`training.objective.{alias}` may be given only where `training.objective.type` is {kind}",
        at=f".training.objective.{alias}",
        holds=holds,
    )


def _scalar_scorers(spec: SELMRunSpec) -> bool:
    return spec.data.transform != "RewardAugmented" or all(
        s.reward_model is not None or s.rules is not None or s.execution is not None for s in spec.scoring.scorers
    )


def _ranks_divide_batch(spec: SELMRunSpec) -> bool:
    training = spec.training
    if training.ranks_per_node is None:
        return True
    ranks = training.nodes * training.ranks_per_node
    return ranks < 1 or training.batch_size % ranks == 0


TRAINING_RULES: tuple[BaseRule[Any], ...] = (
    *(_only_with_its_type(kind, alias) for kind, alias in OBJECTIVE_PARAMETERS.items()),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.training.objective.type != 'XPO' || self.training.reference != 'Initial' || "
            "self.generation.policies.exists(p, p == 'Reference')"
        ),
        message=(
            "`generation.policies` must hold Reference where `training.objective.type` is XPO and "
            "`training.reference` is Initial: the exploring term takes the reference's responses"
        ),
        at=".generation.policies",
        holds=lambda spec: (
            spec.training.objective.type != "XPO"
            or spec.training.reference != "Initial"
            or "Reference" in spec.generation.policies
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.training.offlineShare == 0.0 || self.data.format != 'Prompts'",
        message="`training.offlineShare` must be 0 where `data.format` is Prompts: there is no offline pair",
        at=".training.offlineShare",
        holds=lambda spec: spec.training.offline_share == 0 or spec.data.format != "Prompts",
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.training.offlineShare == 0.0 || self.training.batchSize >= 2",
        message="`training.offlineShare` must be 0 where `training.batchSize` is 1: a batch has pairs of both kinds",
        at=".training.offlineShare",
        holds=lambda spec: spec.training.offline_share == 0 or spec.training.batch_size >= 2,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="!has(self.data.selection) || self.data.selection.of == 'Prompt' || self.data.format != 'Prompts'",
        message="`data.selection.of` must be Prompt where `data.format` is Prompts: there are no responses",
        at=".data.selection.of",
        holds=lambda spec: (
            spec.data.selection is None or spec.data.selection.of == "Prompt" or spec.data.format != "Prompts"
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="(self.data.transform == 'RewardAugmented') == has(self.data.rewardAugmented)",
        message="`data.rewardAugmented` must be given where `data.transform` is RewardAugmented, and only there",
        at=".data.rewardAugmented",
        holds=lambda spec: (spec.data.transform == "RewardAugmented") == (spec.data.reward_augmented is not None),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.data.transform != 'RewardAugmented' || self.scoring.scorers.all(s, has(s.rewardModel) || "
            "has(s.rules) || has(s.execution))"
        ),
        message=(
            "`data.transform` may be RewardAugmented only with scalar scorers: `rewardModel`, `rules` or `execution`"
        ),
        at=".data.transform",
        holds=_scalar_scorers,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.data.transform != 'RewardAugmented' || self.scoring.pairing.rule != 'MaxMinProbability'",
        message=(
            "`scoring.pairing.rule` must not be MaxMinProbability where `data.transform` is RewardAugmented: pairs then "
            "have probabilities, not scores on the goal's scale"
        ),
        at=".scoring.pairing.rule",
        holds=lambda spec: spec.data.transform != "RewardAugmented" or spec.scoring.pairing.rule != "MaxMinProbability",
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "self.data.transform != 'RewardAugmented' || "
            f"!(self.training.objective.type in [{', '.join(repr(kind) for kind in EXPLORING)}])"
        ),
        message=(
            "`data.transform` may be RewardAugmented only with an objective that explores nothing (none of "
            f"{', '.join(EXPLORING)}): explored responses were asked for at another score than either copy's"
        ),
        at=".data.transform",
        holds=lambda spec: spec.data.transform != "RewardAugmented" or spec.training.objective.type not in EXPLORING,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=("!has(self.training.lora) || self.training.lora.quantization == 'None' || self.training.zeroStage <= 2"),
        message="`training.lora.quantization` may be NF4 only where `training.zeroStage` is at most 2",
        at=".training.lora.quantization",
        holds=lambda spec: (
            spec.training.lora is None or spec.training.lora.quantization == "None" or spec.training.zero_stage <= 2
        ),
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="!self.training.compile || self.training.zeroStage <= 2",
        message="`training.compile` may be true only where `training.zeroStage` is at most 2 (it is 3 where it is not given)",
        at=".training.compile",
        holds=lambda spec: not spec.training.compile or spec.training.zero_stage <= 2,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.training.offload.parameters != 'CPU' || self.training.zeroStage == 3",
        message="`training.offload.parameters` may be CPU only where `training.zeroStage` is 3",
        at=".training.offload.parameters",
        holds=lambda spec: spec.training.offload.parameters != "CPU" or spec.training.zero_stage == 3,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.training.offload.optimizer != 'CPU' || self.training.zeroStage >= 1",
        message="`training.offload.optimizer` may be CPU only where `training.zeroStage` is at least 1",
        at=".training.offload.optimizer",
        holds=lambda spec: spec.training.offload.optimizer != "CPU" or spec.training.zero_stage >= 1,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel=(
            "!has(self.training.ranksPerNode) || self.training.nodes * self.training.ranksPerNode < 1 || "
            "self.training.batchSize % (self.training.nodes * self.training.ranksPerNode) == 0"
        ),
        message="`training.batchSize` must be a multiple of `training.nodes` x `training.ranksPerNode`",
        at=".training.batchSize",
        holds=_ranks_divide_batch,
    ),
    Rule[SELMRunSpec](
        on=SELMRunSpec,
        cel="self.training.maxPromptLength < self.training.maxLength",
        message="`training.maxPromptLength` must be less than `training.maxLength`",
        at=".training.maxPromptLength",
        holds=lambda spec: spec.training.max_prompt_length < spec.training.max_length,
    ),
)
