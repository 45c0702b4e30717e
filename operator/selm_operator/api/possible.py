"""What a valid spec can still get wrong: combinations that the CRD's rules cannot or must not decide.

The operator answers them with `Accepted`=False, before any Job is made.
"""

from __future__ import annotations

from collections.abc import Iterator

from selm_operator.api.field_errors import FieldError
from selm_operator.api.pods import Resources
from selm_operator.api.spec import SELMRunSpec
from selm_runtime.contract_engine import problems, shipped_arguments


def impossible(spec: SELMRunSpec) -> list[FieldError]:
    """Combinations that no phase could obey, each with the field to change, what was found and what is allowed."""
    return [
        *_ranks(spec),
        *_engine(spec),
        *_engines(spec),
        *_engine_args(spec),
        *_policies(spec),
        *_selection(spec),
        *_control(spec),
    ]


def _ranks(spec: SELMRunSpec) -> Iterator[FieldError]:
    training = spec.training
    gpus = training.resources.gpus if training.resources else 0
    each = training.resolved_ranks_per_node
    if 0 < gpus < each:
        yield FieldError(
            "spec.training.ranksPerNode", f"must be at most the GPUs in training.resources.limits, {gpus}; found {each}"
        )
    ranks = training.nodes * each
    if training.batch_size % ranks:
        yield FieldError(
            "spec.training.batchSize",
            f"must be a multiple of the ranks: {training.nodes} nodes x {each} ranks = {ranks}; "
            f"found {training.batch_size}",
        )


def _engine(spec: SELMRunSpec) -> Iterator[FieldError]:
    size = spec.generation.tensor_parallel_size
    for group, resources in (("generation", spec.generation.resources), ("evaluation", spec.evaluation.resources)):
        gpus = _gpus(resources)
        if 0 < gpus < size:
            yield FieldError(
                "spec.generation.tensorParallelSize",
                f"must be at most the GPUs in {group}.resources.limits, {gpus}; found {size}",
            )


def _engines(spec: SELMRunSpec) -> Iterator[FieldError]:
    generation = spec.generation
    gpus, size = _gpus(generation.resources), generation.tensor_parallel_size
    if size <= gpus < (generation.engines_per_pod or 1) * size:
        yield FieldError(
            "spec.generation.enginesPerPod",
            f"must be at most {gpus // size}: generation.resources.limits has {gpus} GPUs, and an engine spans {size}; "
            f"found {generation.engines_per_pod}",
        )


def _engine_args(spec: SELMRunSpec) -> Iterator[FieldError]:
    # The list is of the operator's own release: another image may carry another vLLM, which its Preparation asks.
    known = shipped_arguments() if spec.image is None else None
    for problem in problems(spec.generation.engine_args, known):
        field, _, words = problem.message.partition(": ")
        yield FieldError(field, words)


def _policies(spec: SELMRunSpec) -> Iterator[FieldError]:
    if "Current" not in spec.generation.policies:
        yield FieldError(
            "spec.generation.policies",
            "must hold Current, the policy that is trained; found Reference alone",
        )


def _selection(spec: SELMRunSpec) -> Iterator[FieldError]:
    if spec.evaluation.select_by.metric == "PreferenceAccuracy" and spec.data.format == "Prompts":
        yield FieldError(
            "spec.evaluation.selectBy.metric",
            "must be WinRate or MeanReward where data.format is Prompts: there are no offline pairs to be accurate on; "
            "found PreferenceAccuracy",
        )


def _control(spec: SELMRunSpec) -> Iterator[FieldError]:
    if not spec.evaluation.control:
        return
    objective = spec.training.objective
    if not objective.reads_alpha:
        yield FieldError(
            "spec.evaluation.control",
            "may be true only where alpha weighs a part of training.objective (SELM, XPO, VPO, SEPOPO, GEB); "
            f"found {objective.type}, with which the control would be the same run",
        )
    elif not any([objective.alpha, *(entry.alpha for entry in spec.schedule)]):
        yield FieldError(
            "spec.evaluation.control",
            "may be true only where alpha is above 0 in training.objective or in the schedule; found 0, with which the "
            "control would be the same run",
        )


def _gpus(resources: Resources | None) -> int:
    return resources.gpus if resources else 0
