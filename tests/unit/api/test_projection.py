"""The spec and the phase config say the same things in the same words, so that one is a projection of the other."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from selm_operator.api import data, objective, phases, scoring, spec, suites, tracking, training
from selm_operator.api.inspection import FieldNode, fields_of
from selm_operator.api.load import load_yaml
from selm_operator.api.status import PhaseName
from selm_runtime import contract
from support.selmruns import REPOSITORY

PAIRS: list[tuple[type[contract.ContractModel], type[Any]]] = [
    (contract.ArtifactsConfig, spec.ArtifactsSpec),
    (contract.ModelConfig, spec.ModelSpec),
    (contract.ColumnsConfig, data.ColumnsSpec),
    (contract.HeldOutConfig, data.HeldOutSpec),
    (contract.DataConfig, data.DataSpec),
    (contract.GenerationConfig, phases.GenerationSpec),
    (contract.RuleConfig, scoring.Rule),
    (contract.PairRMConfig, scoring.PairRMScorer),
    (contract.ObjectiveWeightConfig, scoring.ObjectiveWeight),
    (contract.ScorerModelConfig, scoring.RewardModelScorer),
    (contract.JudgeConfig, scoring.JudgeScorer),
    (contract.ExecutionConfig, scoring.ExecutionScorer),
    (contract.ScorerConfig, scoring.Scorer),
    (contract.PairingConfig, scoring.PairingSpec),
    (contract.ScoringConfig, scoring.ScoringSpec),
    (contract.ObjectiveConfig, objective.ObjectiveSpec),
    (contract.XPOConfig, objective.XPOSpec),
    (contract.VPOConfig, objective.VPOSpec),
    (contract.IPOConfig, objective.IPOSpec),
    (contract.SimPOConfig, objective.SimPOSpec),
    (contract.RobustDPOConfig, objective.RobustDPOSpec),
    (contract.ConservativeDPOConfig, objective.ConservativeDPOSpec),
    (contract.AlphaDPOConfig, objective.AlphaDPOSpec),
    (contract.NSDPOConfig, objective.NSDPOSpec),
    (contract.RPOConfig, objective.RPOSpec),
    (contract.GEBConfig, objective.GEBSpec),
    (contract.GuardConfig, training.GuardSpec),
    (contract.LoraConfig, training.LoraSpec),
    (contract.OffloadConfig, training.OffloadSpec),
    (contract.ReportToConfig, tracking.ReportToSpec),
    (contract.WandbConfig, tracking.WandbSpec),
    (contract.MlflowConfig, tracking.MlflowSpec),
    (contract.RewardAugmentedConfig, data.RewardAugmentedSpec),
    (contract.SelectionConfig, data.SelectionSpec),
    (contract.OptimizerConfig, training.OptimizerSpec),
    (contract.CheckpointConfig, training.CheckpointSpec),
    (contract.TrainingConfig, training.TrainingSpec),
    (contract.SelectByConfig, phases.SelectBySpec),
    (contract.EvaluationConfig, phases.EvaluationSpec),
    (contract.LMEvalTaskConfig, suites.LMEvalTask),
    (contract.LMEvalConfig, suites.LMEvalSpec),
    (contract.SuiteJudgeConfig, suites.SuiteJudge),
    (contract.AlpacaEvalConfig, suites.AlpacaEvalSpec),
    (contract.MTBenchConfig, suites.MTBenchSpec),
    (contract.PushConfig, spec.PushSpec),
]

NOT_OF_THE_SPEC = {
    (contract.TrainingConfig, "pairs"): "of the schedule's entry",
    (contract.TrainingConfig, "rendezvous"): "made by the operator",
    (contract.PushConfig, "recipe"): "of the whole spec",
}
RESOLVED = {
    (contract.DataConfig, "portions"): "absent: the iterations",
    (contract.GenerationConfig, "engines_per_pod"): "absent: the engines that the GPUs hold, else 1",
    (contract.TrainingConfig, "ranks_per_node"): "absent: the GPUs, else 1",
}
FIELDS = [(config, group, name) for config, group in PAIRS for name in config.model_fields]


def literals(annotation: Any) -> set[str]:
    """The string literals anywhere in an annotation."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {value for inner in get_args(annotation) if not isinstance(inner, str) for value in literals(inner)}


def node_of(group: type[Any], name: str) -> FieldNode:
    return next(node for node in fields_of(group) if node.name == name)


@pytest.mark.parametrize(("config", "group", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_a_field_of_the_phase_config_is_a_field_of_the_spec(config: Any, group: Any, name: str) -> None:
    if (config, name) in NOT_OF_THE_SPEC:
        assert name not in group.model_fields
        return
    node, field = node_of(group, name), config.model_fields[name]
    assert node.alias == (field.alias or name)
    assert literals(field.annotation) <= literals(node.info.annotation)
    if field.is_required() or (config, name) in RESOLVED:
        return
    default = field.get_default(call_default_factory=True)
    ours = node.absent_means.value if node.absent_means else node.default
    if isinstance(default, BaseModel):
        assert {key: getattr(ours, key) for key in type(default).model_fields} == dict(default)
    else:
        assert ours == default


def project(config: type[Any], group: dict[str, Any]) -> dict[str, Any]:
    """The part of a spec's group that a config has fields for."""
    aliases = {field.alias or name for name, field in config.model_fields.items()}
    return {alias: value for alias, value in group.items() if alias in aliases}


@pytest.mark.parametrize("example", ["llama-3-8b.yaml", "alpha-zero.yaml"])
def test_the_groups_of_an_example_project_onto_the_phase_config(example: str) -> None:
    """As the operator projects: JSON by alias, absent fields left out."""
    run = load_yaml((REPOSITORY / "examples" / example).read_text(encoding="utf-8"))
    dumped = spec.SELMRunSpec.model_validate(run["spec"]).model_dump(mode="json", by_alias=True, exclude_none=True)
    scoring = dumped["scoring"]
    scoring["scorers"] = [project(contract.ScorerConfig, scorer) for scorer in scoring["scorers"]]
    dumped["training"]["ranksPerNode"] = 8
    dumped["generation"]["enginesPerPod"] = 1
    for name, config in {
        "artifacts": contract.ArtifactsConfig,
        "model": contract.ModelConfig,
        "data": contract.DataConfig,
        "generation": contract.GenerationConfig,
        "scoring": contract.ScoringConfig,
        "training": contract.TrainingConfig,
        "evaluation": contract.EvaluationConfig,
    }.items():
        given = project(config, dumped[name])
        kept = config.model_validate(given).model_dump(mode="json", by_alias=True)
        assert {key: kept[key] for key in given if not isinstance(given[key], list | dict)} == {
            key: value for key, value in given.items() if not isinstance(value, list | dict)
        }


def test_phases_are_the_same_everywhere() -> None:
    assert get_args(PhaseName) == tuple(phase.value for phase in contract.Phase)
    template = next(node for node in fields_of(spec.PodTemplate) if node.name == "phase")
    assert literals(template.info.annotation) == {"All", *get_args(PhaseName)}


def test_every_type_of_objective_is_the_same_everywhere() -> None:
    types = literals(node_of(objective.ObjectiveSpec, "type").info.annotation)
    assert types == literals(contract.ObjectiveConfig.model_fields["type"].annotation)
    assert set(contract.OBJECTIVE_PARAMETERS) <= types
    groups = {node.alias for node in fields_of(objective.ObjectiveSpec) if node.model}
    assert groups == set(contract.OBJECTIVE_PARAMETERS.values())


def test_every_group_of_the_contract_is_compared_with_its_group_of_the_spec() -> None:
    """A group that is left out above would drift apart unseen."""
    compared = {config for config, _ in PAIRS}
    spec_side = {contract.PhaseConfig, contract.RunRef, contract.CommittedPhase, contract.RendezvousConfig}
    answers = {contract.ShardProgress, contract.PhaseError, contract.TerminationMessage, contract.ContractModel}
    declared = {value for value in vars(contract).values() if isinstance(value, type)}
    groups = {value for value in declared if issubclass(value, contract.ContractModel)}
    assert groups - compared - spec_side - answers == set()
