"""`SELMRun.spec`: what is to be done. The one source of the CRD, its documentation and its validation.

Descriptions say what a field is; its name, default and mutability are put around them by the generators, from the
same declarations that validate. Defaults and bounds are the paper's and the design's where those have one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selm_operator.api.base import (
    MAX_INT32,
    MAX_ITERATIONS,
    MAX_SAFE_INTEGER,
    STORE_PATTERN,
    TARGET_PATTERN,
    URL_PATTERN,
    AbsentMeans,
    Bool,
    Change,
    Default,
    Int,
    Iteration,
    ListMap,
    Revision,
    SourceUri,
    SpecModel,
    Subdomain,
    Text,
)
from selm_operator.api.data import DataSpec
from selm_operator.api.phases import (
    Alpha,
    Beta,
    EvaluationSpec,
    GenerationSpec,
    LearningRate,
    SamplesPerPrompt,
    Temperature,
)
from selm_operator.api.pods import PodTemplate
from selm_operator.api.references import ConfigMapRef, SecretRef, TokenSecretRef
from selm_operator.api.scoring import ScoringSpec
from selm_operator.api.training import TrainingSpec


class ModelSpec(SpecModel):
    """The model that is trained."""

    uri: Annotated[
        SourceUri,
        Field(description="the place of the model: hf://, s3:// or file:// (a mounted volume)."),
        Change.IMMUTABLE,
    ]
    revision: Annotated[
        Revision,
        Field(description="the branch, tag or commit; Preparation pins it to a digest."),
        Change.IMMUTABLE,
    ] = "main"
    token_secret_ref: Annotated[
        TokenSecretRef | None,
        Field(description="the Secret with the hub's token, for gated models."),
        Default("none"),
        Change.SUSPENDED,
    ] = None
    trust_remote_code: Annotated[Bool, Field(description="runs code of the model's repository."), Change.IMMUTABLE] = (
        False
    )


class ScheduleEntry(SpecModel):
    """What differs in one iteration."""

    iteration: Annotated[Iteration, Field(description="the iteration, 1 to iterations.")]
    pairs: Annotated[
        Literal["Online", "Offline"] | None,
        Field(description="the pairs that are trained on; Offline: the data's own, without generation and scoring."),
        AbsentMeans("Online"),
    ] = None
    alpha: Annotated[Alpha | None, Field(description="training.objective.alpha in that iteration.")] = None
    beta: Annotated[Beta | None, Field(description="training.objective.beta in that iteration.")] = None
    learning_rate: Annotated[LearningRate | None, Field(description="training.learningRate in that iteration.")] = None
    temperature: Annotated[Temperature | None, Field(description="generation.temperature in that iteration.")] = None
    samples_per_prompt: Annotated[
        SamplesPerPrompt | None, Field(description="generation.samplesPerPrompt in that iteration.")
    ] = None


class ArtifactsSpec(SpecModel):
    """The store of everything that the phases make."""

    uri: Annotated[
        Text,
        Field(
            max_length=1024,
            pattern=STORE_PATTERN,
            description="the folder in the store: s3:// or file:// (a shared volume).",
        ),
        Change.IMMUTABLE,
    ]
    endpoint: Annotated[
        Text | None,
        Field(max_length=1024, pattern=URL_PATTERN, description="the URL of the S3 server."),
        Default("AWS"),
        Change.SUSPENDED,
    ] = None
    region: Annotated[
        Text | None,
        Field(min_length=1, max_length=64, description="the region of the bucket."),
        Default("the environment's"),
        Change.IMMUTABLE,
    ] = None
    credentials_secret_ref: Annotated[
        SecretRef | None,
        Field(description="the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."),
        Default("the service account's own rights"),
        Change.SUSPENDED,
    ] = None
    ca_bundle_config_map_ref: Annotated[
        ConfigMapRef | None,
        Field(description="the ConfigMap with the S3 server's CA bundle in its key ca.crt."),
        Default("the image's certificates"),
        Change.SUSPENDED,
    ] = None
    reuse: Annotated[
        Literal["SameNamespace", "None"],
        Field(description="whether results of other runs in the namespace with equal inputs are taken."),
        Change.IMMUTABLE,
    ] = "SameNamespace"


class SchedulingSpec(SpecModel):
    """Queue and priority of the Jobs."""

    queue_name: Annotated[Subdomain | None, Field(description="the Kueue LocalQueue."), Default("none")] = None
    priority_class_name: Annotated[
        Subdomain | None, Field(description="the PriorityClass of the pods."), Default("the cluster's")
    ] = None


class PushSpec(SpecModel):
    """Where the model goes after the last iteration."""

    uri: Annotated[
        Text,
        Field(
            max_length=1024,
            pattern=TARGET_PATTERN,
            description=(
                "the place of the model: a repository hf://owner/name, a folder at s3:// or file://, or "
                "oci://registry/name:tag (the tag is latest where it is left out)."
            ),
        ),
    ]
    model: Annotated[
        Literal["Best", "Final"], Field(description="the model that evaluation.selectBy picks, or the last one.")
    ] = "Best"
    private: Annotated[Bool, Field(description="whether a repository of the hub is made, and has to be, private.")] = (
        True
    )
    revision: Annotated[Revision, Field(description="the branch of a repository of the hub.")] = "main"
    token_secret_ref: Annotated[
        TokenSecretRef | None,
        Field(description="the Secret with a token of the hub that may write."),
        Default("none"),
    ] = None
    credentials_secret_ref: Annotated[
        SecretRef | None,
        Field(
            description=(
                "the Secret with the credentials of an OCI registry: `username` and `password`, or `.dockerconfigjson`."
            )
        ),
        Default("none"),
    ] = None
    plain_http: Annotated[
        Bool, Field(alias="plainHTTP", description="whether an OCI registry is spoken to without TLS.")
    ] = False


class RetrySpec(SpecModel):
    """When a phase is given up."""

    max_attempts: Annotated[Int, Field(ge=1, le=100, description="attempts of a phase that count."), Change.ALWAYS] = 3
    temporary_deadline_seconds: Annotated[
        Int,
        Field(ge=0, le=31_536_000, description="seconds of temporary failure after which the run stalls."),
        Change.ALWAYS,
    ] = 21_600


class RetentionSpec(SpecModel):
    """What is kept."""

    artifacts: Annotated[
        Literal["KeepAll", "KeepBest", "KeepLast"],
        Field(description="the iterations whose models are kept; the base and the newest always are."),
        Change.ALWAYS,
    ] = "KeepAll"
    ttl_seconds_after_finished: Annotated[
        Int | None,
        Field(ge=0, le=MAX_INT32, description="seconds after which a finished run's children are deleted."),
        Default("never"),
        Change.ALWAYS,
    ] = None


class SELMRunSpec(SpecModel):
    """What is to be done."""

    iterations: Annotated[Iteration, Field(description="iterations to be finished."), Change.GROWING] = 3
    seed: Annotated[
        Int, Field(ge=0, le=MAX_SAFE_INTEGER, description="the seed of everything random."), Change.IMMUTABLE
    ] = 42
    image: Annotated[
        Text | None,
        Field(min_length=1, max_length=512, description="the runtime's image; status.images records what is used."),
        Default("the operator's"),
        Change.SUSPENDED,
    ] = None
    model: Annotated[ModelSpec, Field(description="the model that is trained.")]
    data: Annotated[DataSpec, Field(description="prompts and their preference pairs.")]
    generation: Annotated[GenerationSpec, Field(description="responses from the policy.")] = GenerationSpec()
    scoring: Annotated[ScoringSpec, Field(description="scores of the candidates, and the pairs made from them.")]
    training: Annotated[TrainingSpec, Field(description="one pass of preference optimisation.")] = TrainingSpec()
    evaluation: Annotated[
        EvaluationSpec, Field(description="what is measured after each iteration, and of the base.")
    ] = EvaluationSpec()
    schedule: Annotated[
        tuple[ScheduleEntry, ...],
        Field(max_length=MAX_ITERATIONS, description="what differs in an iteration."),
        ListMap("iteration"),
        Change.SCHEDULED,
    ] = ()
    artifacts: Annotated[ArtifactsSpec, Field(description="the store of everything that the phases make.")]
    push: Annotated[
        PushSpec | None,
        Field(description="where the model goes, with its card, after the last iteration."),
        Default("nothing is pushed"),
        Change.SUSPENDED,
    ] = None
    scheduling: Annotated[SchedulingSpec, Field(description="queue and priority of the Jobs."), Change.SUSPENDED] = (
        SchedulingSpec()
    )
    service_account_name: Annotated[
        Subdomain, Field(description="the ServiceAccount of the pods."), Change.SUSPENDED
    ] = "default"
    image_pull_secrets: Annotated[
        tuple[SecretRef, ...],
        Field(max_length=16, description="the Secrets for pulling images."),
        ListMap("name"),
        Change.SUSPENDED,
    ] = ()
    retry: Annotated[RetrySpec, Field(description="when a phase is given up.")] = RetrySpec()
    retention: Annotated[RetentionSpec, Field(description="what is kept.")] = RetentionSpec()
    pod_templates: Annotated[
        tuple[PodTemplate, ...],
        Field(max_length=7, description="curated patches of the pods; All first, then the phase's own."),
        ListMap("phase"),
        Change.SUSPENDED,
    ] = ()
    suspend: Annotated[Bool, Field(description="whether the run is stopped, with a checkpoint."), Change.ALWAYS] = False
