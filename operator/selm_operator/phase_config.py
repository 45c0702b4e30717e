"""Spec, schedule and status become the `PhaseConfig` that a phase's pods read.

Fields of the same name are projected; only what is resolved here (the schedule, the portions, the ranks) is written out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import ScheduleValues, SELMRunStatus
from selm_operator.constants import MASTER_PORTS
from selm_operator.ledger import committed_phases
from selm_operator.manifests.names import job_name, service_name
from selm_operator.schedule import in_force
from selm_operator.snapshot import RunView
from selm_runtime.contract import (
    ArtifactsConfig,
    ContractModel,
    DataConfig,
    EvaluationConfig,
    GenerationConfig,
    ModelConfig,
    ObjectiveConfig,
    Phase,
    PhaseConfig,
    PushConfig,
    RendezvousConfig,
    RunRef,
    ScoringConfig,
    TrainingConfig,
)

Target = TypeVar("Target", bound=ContractModel)


@dataclass(frozen=True)
class Attempt:
    """One attempt of one phase: what a Job is made for."""

    iteration: int
    phase: Phase
    number: int


def phase_config(run: RunView, spec: SELMRunSpec, status: SELMRunStatus, attempt: Attempt) -> PhaseConfig:
    """All that the pods of this attempt need to know.

    Evaluation samples by the unscheduled settings, so that iterations compare; every other phase by the iteration's.
    """
    schedule = in_force(spec, status, attempt.iteration)
    return PhaseConfig(
        run=RunRef(namespace=run.namespace, name=run.name, uid=run.uid),
        phase=attempt.phase,
        iteration=attempt.iteration,
        attempt=attempt.number,
        iterations=spec.iterations,
        seed=spec.seed,
        artifacts=project(ArtifactsConfig, spec.artifacts),
        committed=committed_phases(status),
        model=project(ModelConfig, spec.model),
        data=project(DataConfig, spec.data, portions=spec.data.portions or spec.iterations),
        generation=_generation(spec, attempt, schedule),
        scoring=project(ScoringConfig, spec.scoring),
        training=_training(run, spec, attempt, schedule),
        evaluation=project(EvaluationConfig, spec.evaluation),
        retention=spec.retention.artifacts,
        push=_push(spec) if attempt.phase is Phase.PUSH else None,
        offline_iterations=tuple(sorted(e.iteration for e in spec.schedule if e.pairs == "Offline")),
    )


RECIPE = {"iterations", "seed", "model", "data", "generation", "scoring", "training", "evaluation", "schedule"}
"""What of the spec the card of a pushed model shows."""


def _push(spec: SELMRunSpec) -> PushConfig | None:
    if spec.push is None:
        return None
    way = {"generation": {"weights"}}  # says nothing of the model
    recipe = spec.model_dump(mode="json", by_alias=True, exclude_none=True, include=RECIPE, exclude=way)
    return project(PushConfig, spec.push, recipe=recipe)


def _generation(spec: SELMRunSpec, attempt: Attempt, schedule: ScheduleValues) -> GenerationConfig:
    values: dict[str, Any] = {}
    if attempt.phase is not Phase.EVALUATION:
        values = {name: getattr(schedule, name) for name in ("temperature", "samples_per_prompt")}
    values = {name: value for name, value in values.items() if value is not None}
    engines = spec.generation.resolved_engines_per_pod
    return project(GenerationConfig, spec.generation, engines_per_pod=engines, **values)


def _training(run: RunView, spec: SELMRunSpec, attempt: Attempt, schedule: ScheduleValues) -> TrainingConfig:
    pairs = schedule.pairs or "Online"
    objective = spec.training.objective
    alpha = schedule.alpha if schedule.alpha is not None else objective.alpha
    beta = schedule.beta if schedule.beta is not None else objective.beta
    if objective.type == "DPO" or (pairs == "Offline" and objective.alpha_explores):
        alpha = 0.0  # there is nothing of the policy's own to explore with, or nothing is to be explored
    rate = schedule.learning_rate if schedule.learning_rate is not None else spec.training.learning_rate
    return project(
        TrainingConfig,
        spec.training,
        pairs=pairs,
        objective=project(ObjectiveConfig, objective, alpha=alpha, beta=beta),
        learning_rate=rate,
        ranks_per_node=spec.training.resolved_ranks_per_node,
        rendezvous=_rendezvous(run, attempt) if attempt.phase is Phase.TRAINING else None,
    )


def _rendezvous(run: RunView, attempt: Attempt) -> RendezvousConfig:
    """Pod 0's name in the headless Service, and a port that no other attempt of a run on the same host has."""
    name = job_name(run.name, attempt.iteration, attempt.phase, attempt.number)
    place = zlib.crc32(f"{run.uid}/{attempt.iteration}/{attempt.number}".encode()) % len(MASTER_PORTS)
    return RendezvousConfig(master_address=f"{name}-0.{service_name(run.name)}", master_port=MASTER_PORTS[place])


def project(target: type[Target], source: BaseModel, **resolved: Any) -> Target:
    """`target` from the fields of `source` that have the same names, groups and lists of groups included.

    An absent field leaves the target's default; `resolved` fields are taken as given. Raises AttributeError where the
    source lacks a field that the target has: contract and API have drifted apart.
    """
    values: dict[str, Any] = dict(resolved)
    for name, field in target.model_fields.items():
        if name in resolved:
            continue
        if not hasattr(source, name) and not field.is_required() and name not in type(source).model_fields:
            continue  # written by the runtime's side or resolved elsewhere
        value = getattr(source, name)
        if value is None and not field.is_required():
            continue
        values[name] = _projected(field.annotation, value)
    return target(**values)


def _projected(annotation: Any, value: Any) -> Any:
    inner = _contract_model(annotation)
    if inner is None:
        return value
    if isinstance(value, tuple | list):
        return tuple(project(inner, item) for item in value)
    return project(inner, value)


def _contract_model(annotation: Any) -> type[ContractModel] | None:
    """The contract model inside of an annotation such as `X`, `X | None` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, ContractModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple):
        for part in get_args(annotation):
            if part not in (NoneType, Ellipsis) and (found := _contract_model(part)) is not None:
                return found
    return None
