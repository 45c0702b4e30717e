"""`SELMRun.status`: what has been done. Written by the operator only.

Times are UTC in whole seconds. `model_dump(mode="json", by_alias=True, exclude_none=True)` gives what the API
server stores.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selm_operator.api.base import (
    MAX_INT32,
    MAX_ITERATIONS,
    MAX_SAFE_INTEGER,
    Atomic,
    Bool,
    Int,
    ListMap,
    Number,
    StatusModel,
    Text,
    Time,
)

PhaseName = Literal["Preparation", "Generation", "Scoring", "Training", "Evaluation", "Push"]
PhaseState = Literal["Pending", "Running", "Succeeded", "Failed", "Skipped"]
ConditionStatus = Literal["True", "False", "Unknown"]
MAX_METRICS = 16
MAX_FAILURE_MESSAGE = 2048
MAX_CONDITION_MESSAGE = 32_768

UNSEEN = -1
"""`observedGeneration` by the CRD's default, until the operator first looks. Without it kstatus (Flux, `helm --wait`) takes a
run that nobody has looked at for one that is done."""
Generation = Annotated[Int, Field(ge=0, le=MAX_SAFE_INTEGER)]
IterationNumber = Annotated[Int, Field(ge=0, le=MAX_ITERATIONS)]
Count = Annotated[Int, Field(ge=0, le=MAX_INT32)]
Attempt = Annotated[Int, Field(ge=1, le=MAX_INT32)]
Sha256 = Annotated[Text, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
GpuSeconds = Annotated[Number, Field(ge=0)]


class Condition(StatusModel):
    """A condition, as `metav1.Condition`."""

    type: Annotated[Text, Field(max_length=316, description="the type of the condition.")]
    status: Annotated[ConditionStatus, Field(description="the state of the condition.")]
    reason: Annotated[
        Text,
        Field(
            min_length=1,
            max_length=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            description="what is done or waited for, in one CamelCase word.",
        ),
    ]
    message: Annotated[Text, Field(max_length=MAX_CONDITION_MESSAGE, description="the same for a person.")]
    observed_generation: Annotated[
        Generation | None, Field(description="the generation that the condition is about.")
    ] = None
    last_transition_time: Annotated[Time, Field(description="the time when the state changed last.")]


class Failure(StatusModel):
    """How the last attempt ended."""

    attempt: Annotated[Attempt | None, Field(description="the attempt that failed.")] = None
    exit_code: Annotated[
        Int | None, Field(ge=0, le=255, description="the exit code that decided; absent where there was none.")
    ] = None
    counted: Annotated[Bool | None, Field(description="whether the attempt counts towards retry.maxAttempts.")] = None
    time: Annotated[Time | None, Field(description="the time when the failure was seen.")] = None
    message: Annotated[Text | None, Field(max_length=MAX_FAILURE_MESSAGE, description="the pod's last words.")] = None


class ShardCounts(StatusModel):
    """Shards of the phase at work."""

    done: Annotated[Int | None, Field(ge=0, le=1024, description="shards that are done.")] = None
    total: Annotated[Int | None, Field(ge=1, le=1024, description="shards in all.")] = None


class ScheduleValues(StatusModel):
    """What the schedule says of one iteration; absent values are the phases' own."""

    learning_rate: Annotated[Number | None, Field(description="training.learningRate in the iteration.")] = None
    alpha: Annotated[Number | None, Field(description="training.objective.alpha in the iteration.")] = None
    beta: Annotated[Number | None, Field(description="training.objective.beta in the iteration.")] = None
    temperature: Annotated[Number | None, Field(description="generation.temperature in the iteration.")] = None
    samples_per_prompt: Annotated[Count | None, Field(description="generation.samplesPerPrompt in the iteration.")] = (
        None
    )
    pairs: Annotated[Literal["Online", "Offline"] | None, Field(description="the pairs of the iteration.")] = None


class FieldDigest(StatusModel):
    """What of a field of the spec may never change."""

    field: Annotated[Text, Field(max_length=63, description="the field of the spec.")]
    digest: Annotated[Sha256, Field(description="the digest of its immutable part as accepted.")]


class Current(StatusModel):
    """Where the run is."""

    iteration: Annotated[
        IterationNumber, Field(description="the iteration at work; 0 is preparation and the base's evaluation.")
    ]
    phase: Annotated[PhaseName | None, Field(description="the phase at work.")] = None
    attempt: Annotated[Attempt | None, Field(description="the attempt of the phase, the highest ever seen.")] = None
    job_name: Annotated[Text | None, Field(max_length=63, description="the name of the attempt's Job.")] = None
    failure: Annotated[Failure | None, Field(description="how the last attempt ended, where it failed.")] = None
    counted_failures: Annotated[
        Count | None, Field(description="failed attempts that counted since the last progress.")
    ] = None
    progress: Annotated[
        Count | None, Field(description="committed chunks or the checkpoint's step, when the last attempt failed.")
    ] = None
    temporary_since: Annotated[
        Time | None, Field(description="the time since which the store or a peer has been away.")
    ] = None
    next_attempt_time: Annotated[Time | None, Field(description="the time before which no attempt starts.")] = None
    shards: Annotated[ShardCounts | None, Field(description="the shards of the phase at work.")] = None
    schedule: Annotated[
        ScheduleValues | None, Field(description="the schedule's values that the iteration at work goes by.")
    ] = None
    accounted_time: Annotated[
        Time | None, Field(description="the time until which an attempt being stopped has its GPU seconds in the book.")
    ] = None


class PhaseImage(StatusModel):
    """An image as pinned."""

    phase: Annotated[PhaseName, Field(description="the phase that the image is for.")]
    image: Annotated[Text, Field(max_length=512, description="the image, with its digest once a pod has told it.")]


class Metric(StatusModel):
    """A metric's last value."""

    name: Annotated[Text, Field(max_length=63, description="the name of the metric.")]
    value: Annotated[Number, Field(description="the value of the metric.")]


class PhaseStatus(StatusModel):
    """What one phase of an iteration has made."""

    phase: Annotated[PhaseName, Field(description="the phase.")]
    state: Annotated[PhaseState, Field(description="the state of the phase.")]
    attempts: Annotated[Count | None, Field(description="attempts made, counted or not.")] = None
    start_time: Annotated[Time | None, Field(description="the time when the first Job was made.")] = None
    completion_time: Annotated[Time | None, Field(description="the time when the phase was seen committed.")] = None
    manifest_digest: Annotated[Sha256 | None, Field(description="the digest of the phase's manifest.")] = None
    metrics: Annotated[
        tuple[Metric, ...] | None,
        Field(max_length=MAX_METRICS, description="the last values of the phase's metrics."),
        ListMap("name"),
    ] = None
    gpu_seconds: Annotated[GpuSeconds | None, Field(description="GPUs times seconds, of all attempts.")] = None


class IterationStatus(StatusModel):
    """What one iteration has made."""

    iteration: Annotated[
        IterationNumber, Field(description="the iteration; 0 is preparation and the base's evaluation.")
    ]
    phases: Annotated[
        tuple[PhaseStatus, ...] | None,
        Field(max_length=5, description="the phases of the iteration."),
        ListMap("phase"),
    ] = None


class StoppedEarly(StatusModel):
    """Where and why evaluation.stopWhen ended the run."""

    iteration: Annotated[IterationNumber, Field(description="the last iteration that was done.")]
    iterations: Annotated[
        IterationNumber, Field(description="spec.iterations at that time; the run goes on where it is raised above.")
    ]
    message: Annotated[Text, Field(max_length=1024, description="why, for a person.")]


class ControlStatus(StatusModel):
    """The control run of evaluation.control."""

    name: Annotated[Text, Field(max_length=63, description="the name of the SELMRun, in the same namespace.")]
    uid: Annotated[Text, Field(max_length=63, description="its uid; one that is deleted is not made again.")]


class SELMRunStatus(StatusModel):
    """What has been done; written by the operator only."""

    observed_generation: Annotated[
        Annotated[Int, Field(ge=UNSEEN, le=MAX_SAFE_INTEGER)] | None,
        Field(description="the generation that was read last; -1: none yet."),
    ] = None
    conditions: Annotated[
        tuple[Condition, ...] | None,
        Field(
            max_length=16, description="Accepted, Succeeded (the summary), Suspended, Reconciling, Stalled, and Pushed."
        ),
        ListMap("type"),
    ] = None
    current: Annotated[Current | None, Field(description="where the run is; kept when it ends.")] = None
    images: Annotated[
        tuple[PhaseImage, ...] | None, Field(max_length=6, description="the images as pinned."), ListMap("phase")
    ] = None
    iterations: Annotated[
        tuple[IterationStatus, ...] | None,
        Field(max_length=MAX_ITERATIONS + 1, description="what each iteration has made."),
        Atomic(),
    ] = None
    engine_args_digest: Annotated[
        Sha256 | None, Field(description="the digest of generation.engineArgs as accepted.")
    ] = None
    accepted: Annotated[
        tuple[FieldDigest, ...] | None,
        Field(max_length=32, description="digests of what may never change in the spec, as accepted."),
        Atomic(),
    ] = None
    stopped_early: Annotated[
        StoppedEarly | None, Field(description="the last early end by evaluation.stopWhen, where there was one.")
    ] = None
    control: Annotated[ControlStatus | None, Field(description="the control run, once it is made.")] = None
    best_iteration: Annotated[
        IterationNumber | None, Field(description="the iteration that evaluation.selectBy picks.")
    ] = None
    model_uri: Annotated[
        Text | None, Field(alias="modelURI", max_length=1024, description="the folder of that iteration's model.")
    ] = None
    gpu_seconds: Annotated[GpuSeconds | None, Field(description="GPUs times seconds, of all attempts.")] = None
