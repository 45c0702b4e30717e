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
    Column,
    Default,
    Int,
    ListMap,
    Number,
    Revision,
    SourceUri,
    SpecModel,
    Subdomain,
    Text,
)
from selm_operator.api.phases import (
    Alpha,
    Beta,
    EvaluationSpec,
    GenerationSpec,
    LearningRate,
    SamplesPerPrompt,
    Temperature,
)
from selm_operator.api.pods import PodTemplate, Resources
from selm_operator.api.references import ConfigMapRef, SecretRef, TokenSecretRef
from selm_operator.api.scoring import ScoringSpec
from selm_operator.api.training import TrainingSpec

Split = Annotated[Text, Field(min_length=1, max_length=128)]
Iteration = Annotated[Int, Field(ge=1, le=MAX_ITERATIONS)]


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


class ColumnsSpec(SpecModel):
    """Names of the data's columns."""

    prompt: Annotated[Column, Field(description="the column of the prompt."), Change.IMMUTABLE] = "prompt"
    chosen: Annotated[Column, Field(description="the column of the preferred response."), Change.IMMUTABLE] = "chosen"
    rejected: Annotated[Column, Field(description="the column of the other response."), Change.IMMUTABLE] = "rejected"


class HeldOutSpec(SpecModel):
    """Rows for evaluation, never trained on."""

    split: Annotated[Split, Field(description="the split of the rows.")]
    limit: Annotated[Int, Field(ge=1, le=1_000_000, description="rows at most.")] = 500


class RewardAugmentedSpec(SpecModel):
    """How prompts ask for a score."""

    goal: Annotated[
        Number,
        Field(
            ge=-1_000_000,
            le=1_000_000,
            description="the score that generation and evaluation ask for: the top of the scorers' scale.",
        ),
    ]
    chosen_score_column: Annotated[
        Column, Field(description="the data's column of the chosen response's score, for the data's own pairs.")
    ] = "score_chosen"
    rejected_score_column: Annotated[
        Column, Field(description="the data's column of the rejected response's score, for the data's own pairs.")
    ] = "score_rejected"


class SelectionSpec(SpecModel):
    """Which rows are trained on: those that the base model finds likeliest (GRAPE, arXiv 2502.04194)."""

    of: Annotated[
        Literal["Chosen", "Best", "Prompt"],
        Field(
            description="what of a row is measured, by its mean log-probability a token: the chosen response, the likelier "
            "one of its two responses, or the prompt."
        ),
        Change.IMMUTABLE,
    ] = "Chosen"
    keep: Annotated[
        Number,
        Field(gt=0, le=1, description="the share of the rows that is kept, rounded down; of equals the earlier row."),
        Change.IMMUTABLE,
    ]
    resources: Annotated[
        Resources | None,
        Field(
            description="the compute resources of Preparation's pod, as in a container; a GPU is used where there is one."
        ),
        Default("the operator's setting for Preparation, on the CPU"),
        Change.SUSPENDED,
    ] = None


class DataSpec(SpecModel):
    """Prompts and their preference pairs."""

    uri: Annotated[
        SourceUri,
        Field(description="the place of the data: hf://, s3:// or file:// (a mounted volume)."),
        Change.IMMUTABLE,
    ]
    revision: Annotated[
        Revision,
        Field(description="the branch, tag or commit; Preparation pins it to a digest."),
        Change.IMMUTABLE,
    ] = "main"
    split: Annotated[Split, Field(description="the split that is trained on."), Change.IMMUTABLE] = "train"
    format: Annotated[
        Literal["Auto", "UltraFeedback", "AnthropicHH", "Nectar", "Prompts", "MultiTurn"],
        Field(description="the layout of the rows; Auto tells it from the columns."),
        Change.IMMUTABLE,
    ] = "Auto"
    columns: Annotated[ColumnsSpec, Field(description="the names of the columns.")] = ColumnsSpec()
    portions: Annotated[
        Iteration | None,
        Field(description="portions that the rows are cut into; iteration t takes portion (t-1) mod portions."),
        Default("iterations, which then cannot grow"),
        Change.IMMUTABLE,
    ] = None
    held_out: Annotated[
        HeldOutSpec | None,
        Field(description="the rows for evaluation, never trained on."),
        Default("the last 500 rows of the split, at most a tenth"),
        Change.IMMUTABLE,
    ] = None
    transform: Annotated[
        Literal["None", "RewardAugmented"],
        Field(
            description="what is made of the pairs: RewardAugmented makes two of each, one that asks for the chosen "
            "response's score and one, reversed, that asks for the rejected response's."
        ),
        Change.IMMUTABLE,
    ] = "None"
    reward_augmented: Annotated[
        RewardAugmentedSpec | None,
        Field(description="how prompts ask for a score, only with transform RewardAugmented."),
        Default("none"),
        Change.IMMUTABLE,
    ] = None
    selection: Annotated[
        SelectionSpec | None,
        Field(description="which rows are trained on, by their fit to the base model."),
        Default("all of them"),
        Change.KEYED,
    ] = None


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
