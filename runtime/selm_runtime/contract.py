"""The contract between the operator, which decides, and the runtime, which pods run.

The operator writes one `PhaseConfig` (JSON) into a Job's environment; the pod answers with one
`TerminationMessage` and an exit code. Nothing else passes between the two programs. This module
imports pydantic alone, so that the operator's image can carry it without the runtime's libraries.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

CONTRACT_VERSION = 2
"""Part of every input digest: raised when the meaning of a phase's output changes."""

ENV_PHASE_CONFIG = "SELM_PHASE_CONFIG"
"""The `PhaseConfig` as JSON. Written by the operator, read by `python -m selm_runtime`."""
ENV_WRITER_ID = "SELM_WRITER_ID"
"""The pod's uid (downward API). Names the pod's own folder in the store: two pods never share one."""
ENV_CACHE_DIR = "SELM_CACHE_DIR"
"""Where model weights are cached on the node. Written by the operator, read by the runtime's cache."""
ENV_JUDGE_KEY = "SELM_JUDGE_KEY_"
"""Begins the variable with a judge's API key (`judge_key_variable`). Written by the operator, read by the scorers."""
ENV_COMPLETION_INDEX = "JOB_COMPLETION_INDEX"
"""Shard (generation, scoring) or node rank (training). Written by the Job controller."""
ENV_TIME_SCALE = "SELM_TIME_SCALE"
"""Factor of every wait of operator and pods; the operator hands its own on. Tests set it below 1."""
ENV_TERMINATION_LOG = "SELM_TERMINATION_LOG"
"""Where the termination message goes; unset in clusters, where Kubernetes' default path holds."""
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT = 2048
"""Bytes. Kubernetes keeps 4,096 a container; half of it leaves room for sidecars of clusters."""


def judge_key_variable(scorer: str) -> str:
    """The variable with the API key of the judge of that name; names are DNS labels, so no two share one."""
    return ENV_JUDGE_KEY + scorer.upper().replace("-", "_")


class Phase(StrEnum):
    """One step of an iteration, spelled alike in spec, status, metrics and logs."""

    PREPARATION = "Preparation"
    GENERATION = "Generation"
    SCORING = "Scoring"
    TRAINING = "Training"
    EVALUATION = "Evaluation"
    PUSH = "Push"  # after the last iteration, where `spec.push` is given

    @property
    def slug(self) -> str:
        """The value in lower case: the runtime's sub-command and the folder in the store."""
        return self.value.lower()


class ExitCode(IntEnum):
    """What a phase's process ends with. Written by the runtime, read by the operator."""

    DONE = 0
    INVALID_INPUT = 64  # bad input or config: never retried, the message reaches the condition
    TEMPORARY = 75  # store away, preempted: retried with back-off, never counted
    PEER_LOST = 76  # another rank is gone: by itself not counted


class ContractModel(BaseModel):
    """camelCase on the wire, snake_case in Python, nothing unknown, nothing mutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class RunRef(ContractModel):
    namespace: str
    name: str
    uid: str


class ArtifactsConfig(ContractModel):
    """`spec.artifacts`, less the references that became environment or volumes."""

    uri: str
    endpoint: str | None = None
    region: str | None = None
    reuse: Literal["SameNamespace", "None"] = "SameNamespace"


class CommittedPhase(ContractModel):
    """A phase of this run that is committed: the address of its manifest."""

    iteration: int
    phase: Phase
    manifest: Digest


class ModelConfig(ContractModel):
    uri: str
    revision: str = "main"
    trust_remote_code: bool = False


class ColumnsConfig(ContractModel):
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"


class HeldOutConfig(ContractModel):
    split: str
    limit: int = 500


class RewardAugmentedConfig(ContractModel):
    """Present exactly where `transform` is RewardAugmented."""

    goal: float
    chosen_score_column: str = "score_chosen"
    rejected_score_column: str = "score_rejected"


class DataConfig(ContractModel):
    uri: str
    revision: str = "main"
    split: str = "train"
    format: Literal["Auto", "UltraFeedback", "AnthropicHH", "Nectar", "Prompts", "MultiTurn"] = "Auto"
    columns: ColumnsConfig = ColumnsConfig()
    portions: int  # resolved: `spec.data.portions`, else the iterations
    held_out: HeldOutConfig | None = None
    transform: Literal["None", "RewardAugmented"] = "None"
    reward_augmented: RewardAugmentedConfig | None = None

    @model_validator(mode="after")
    def _goal_of_the_transform(self) -> DataConfig:
        if (self.transform == "RewardAugmented") != (self.reward_augmented is not None):
            raise ValueError("rewardAugmented is to be given where transform is RewardAugmented, and only there")
        return self


class GenerationConfig(ContractModel):
    """Sampling as in force in this iteration (the schedule is applied by the operator)."""

    temperature: float
    top_p: float
    max_tokens: int
    samples_per_prompt: int
    policies: tuple[Literal["Current", "Reference"], ...] = ("Current",)
    """In this order whatever the spec's, so that equal meanings are equal configs."""
    reproducible: bool = True
    shards: int = 1
    engines_per_pod: int = 1
    tensor_parallel_size: int = 1
    engine_args: dict[str, Any] = {}

    @field_validator("policies")
    @classmethod
    def _current_first(cls, policies: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(policies))


class RuleConfig(ContractModel):
    """One declared rule of a rule scorer; see `selm_runtime.score.rules` for the meanings."""

    type: Literal["Length", "Regex", "Format", "Repetition"]
    weight: float = 1.0
    pattern: str | None = None
    target: float | None = None
    column: str | None = None


class PairRMConfig(ContractModel):
    uri: str
    revision: str = "main"


class ObjectiveWeightConfig(ContractModel):
    label: str
    weight: float


class ScorerModelConfig(ContractModel):
    uri: str
    revision: str = "main"
    trust_remote_code: bool = False
    objectives: tuple[ObjectiveWeightConfig, ...] | None = None


class JudgeConfig(ContractModel):
    """Who judges (`endpoint` and `model`, or `policy`), how it is asked, and within what limits."""

    endpoint: str | None = None
    model: str | None = None
    policy: Literal["Current", "Base"] | None = None
    mode: Literal["Pairwise", "Grade"] = "Pairwise"
    template: str | None = None
    verdict_pattern: str | None = None
    max_tokens: int = 1024
    temperature: float = 0.0
    concurrency: int = 8
    requests_per_minute: int | None = None
    token_budget: int | None = None


class ExecutionConfig(ContractModel):
    tests_column: str = "tests"
    timeout_seconds: int = 10
    memory_mebibytes: int = 512


class ScorerConfig(ContractModel):
    """One scorer; exactly one of its kinds is there."""

    name: str
    weight: float = 1.0
    pair_rm: PairRMConfig | None = Field(default=None, alias="pairRM")
    reward_model: ScorerModelConfig | None = None
    judge: JudgeConfig | None = None
    rules: tuple[RuleConfig, ...] | None = None
    execution: ExecutionConfig | None = None


ResponseTreatment = Literal["Candidate", "RejectOnly", "Exclude"]


class PairingConfig(ContractModel):
    """What the rules mean: `selm_runtime.score.pairing`."""

    rule: Literal["BestWorst", "MaxRandom", "MaxMax", "MaxMinProbability", "TwoPolicy"] = "BestWorst"
    offline: Literal["Include", "Exclude"] = "Include"
    min_margin: float = 0.0
    length_control: float | None = None
    empty: ResponseTreatment = "Candidate"
    truncated: ResponseTreatment = "Candidate"


class ScoringConfig(ContractModel):
    scorers: tuple[ScorerConfig, ...]
    length_penalty: float = 0.0
    pairing: PairingConfig = PairingConfig()
    shards: int = 1


class XPOConfig(ContractModel):
    kind: Literal["Sigmoid", "IPO"] = "Sigmoid"


class VPOConfig(ContractModel):
    sign: Literal["Online", "Offline"] = "Online"
    calibration: Literal["Explored", "Chosen"] = "Explored"


class IPOConfig(ContractModel):
    norm: Literal["TokenMean", "Sum"] = "TokenMean"


class SimPOConfig(ContractModel):
    gamma: float = 1.0


class RobustDPOConfig(ContractModel):
    epsilon: float = 0.1


class ConservativeDPOConfig(ContractModel):
    epsilon: float = 0.1


class AlphaDPOConfig(ContractModel):
    gamma: float = 0.6
    alpha: float = 0.2


class NSDPOConfig(ContractModel):
    gamma: float = 0.95


class RPOConfig(ContractModel):
    lambda_: float = Field(default=1.0, alias="lambda")
    norm: Literal["TokenMean", "Sum"] = "TokenMean"


class GEBConfig(ContractModel):
    divergence: Literal["ForwardKL", "KL", "Hellinger"] = "ForwardKL"
    bonus: Literal["Inverse", "Complement", "Atanh"] = "Inverse"
    probability: Literal["Sequence", "TokenMean"] = "Sequence"


OBJECTIVE_PARAMETERS = {
    "XPO": "xpo",
    "VPO": "vpo",
    "IPO": "ipo",
    "SimPO": "simPO",
    "RobustDPO": "robustDPO",
    "ConservativeDPO": "conservativeDPO",
    "AlphaDPO": "alphaDPO",
    "NSDPO": "nsDPO",
    "RPO": "rpo",
    "GEB": "geb",
}
"""Objectives that have parameters of their own, and the field of `spec.training.objective` that holds them."""


class ObjectiveConfig(ContractModel):
    """The objective as in force in this iteration; the exploring term's `alpha` is 0 where `pairs` is Offline.

    Of the groups of parameters exactly the type's own is there, with its defaults where it was left out, so that
    equal meanings are equal configs. What the parameters do: `selm_runtime.train.objectives`.
    """

    type: Literal[
        "SELM",
        "DPO",
        "XPO",
        "VPO",
        "SEPOPO",
        "IPO",
        "Hinge",
        "SimPO",
        "RobustDPO",
        "ConservativeDPO",
        "AlphaDPO",
        "NSDPO",
        "RPO",
        "GEB",
    ]
    alpha: float
    beta: float
    optimism_weighting: Literal["AlphaBeta", "Alpha"] = "AlphaBeta"
    explored: Literal["First", "Mean"] = "First"
    xpo: XPOConfig | None = None
    vpo: VPOConfig | None = None
    ipo: IPOConfig | None = None
    sim_po: SimPOConfig | None = Field(default=None, alias="simPO")
    robust_dpo: RobustDPOConfig | None = Field(default=None, alias="robustDPO")
    conservative_dpo: ConservativeDPOConfig | None = Field(default=None, alias="conservativeDPO")
    alpha_dpo: AlphaDPOConfig | None = Field(default=None, alias="alphaDPO")
    ns_dpo: NSDPOConfig | None = Field(default=None, alias="nsDPO")
    rpo: RPOConfig | None = None
    geb: GEBConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_parameters(cls, data: Any) -> Any:
        """Give the type's group its defaults where it is absent."""
        if not isinstance(data, dict) or data.get("type") not in OBJECTIVE_PARAMETERS:
            return data
        alias = OBJECTIVE_PARAMETERS[data["type"]]
        name = next(name for name, field in cls.model_fields.items() if (field.alias or name) == alias)
        if data.get(alias) is not None or data.get(name) is not None:
            return data
        return {**{key: value for key, value in data.items() if key not in (alias, name)}, alias: {}}

    @model_validator(mode="after")
    def _no_others_parameters(self) -> ObjectiveConfig:
        own = OBJECTIVE_PARAMETERS.get(self.type)
        for name, field in type(self).model_fields.items():
            alias = field.alias or name
            if alias in OBJECTIVE_PARAMETERS.values() and alias != own and getattr(self, name) is not None:
                raise ValueError(f"{alias} is given, but the objective is {self.type}; allowed is {own or 'neither'}")
        return self


class GuardConfig(ContractModel):
    max_log_ratio: float | None = None


class LoraConfig(ContractModel):
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    quantization: Literal["None", "NF4"] = "None"
    export: Literal["Merged", "Adapter"] = "Merged"


class OffloadConfig(ContractModel):
    optimizer: Literal["None", "CPU"] = "None"
    parameters: Literal["None", "CPU"] = "None"


class WandbConfig(ContractModel):
    project: str
    entity: str | None = None
    base_url: str | None = Field(default=None, alias="baseURL")


class MlflowConfig(ContractModel):
    tracking_uri: str = Field(alias="trackingURI")
    experiment: str


class ReportToConfig(ContractModel):
    """Trackers beside the artifacts; their keys come by the environment."""

    wandb: WandbConfig | None = None
    mlflow: MlflowConfig | None = None


class OptimizerConfig(ContractModel):
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


class CheckpointConfig(ContractModel):
    interval_seconds: int = 600
    keep: int = 2


class RendezvousConfig(ContractModel):
    """Static rendezvous: node rank is the completion index, the master is pod 0's name."""

    master_address: str
    master_port: int


class TrainingConfig(ContractModel):
    """Hyper-parameters as in force in this iteration."""

    pairs: Literal["Online", "Offline"] = "Online"
    objective: ObjectiveConfig
    reference: Literal["Previous", "Initial"] = "Previous"
    learning_rate: float
    lr_scheduler: Literal["Cosine", "Linear", "Constant"] = "Cosine"
    warmup_ratio: float = 0.1
    optimizer: OptimizerConfig = OptimizerConfig()
    max_grad_norm: float = 1.0
    precision: Literal["BFloat16", "Float32"] = "BFloat16"
    batch_size: int
    max_tokens_per_micro_batch: int
    max_length: int
    max_prompt_length: int
    truncation: Literal["KeepEnd", "KeepStart"] = "KeepEnd"
    epochs: int = 1
    offline_share: float = 0.0
    lora: LoraConfig | None = None
    guard: GuardConfig = GuardConfig()
    offload: OffloadConfig = OffloadConfig()
    report_to: ReportToConfig | None = None
    nodes: int = 1
    ranks_per_node: int = 1
    zero_stage: int = 3
    checkpoint: CheckpointConfig = CheckpointConfig()
    rendezvous: RendezvousConfig | None = None  # present in the Training phase's config only


class SelectByConfig(ContractModel):
    metric: Literal["WinRate", "MeanReward", "PreferenceAccuracy"] = "WinRate"
    scorer: str | None = None
    against: Literal["Base", "Previous"] = "Base"


class EvaluationConfig(ContractModel):
    select_by: SelectByConfig = SelectByConfig()


class PushConfig(ContractModel):
    """`spec.push`; in the Push phase's config only."""

    uri: str
    model: Literal["Best", "Final"] = "Best"
    private: bool = True
    revision: str = "main"
    recipe: dict[str, Any] = {}
    """What of the spec the model card shows."""


class PhaseConfig(ContractModel):
    """All that a pod of one phase needs to know; the credentials come by the environment."""

    contract_version: int = CONTRACT_VERSION
    run: RunRef
    phase: Phase
    iteration: int = Field(ge=0)  # 0: Preparation and the base's Evaluation
    attempt: int = Field(ge=1)
    iterations: int
    seed: int
    artifacts: ArtifactsConfig
    committed: tuple[CommittedPhase, ...] = ()
    model: ModelConfig
    data: DataConfig
    generation: GenerationConfig
    """In Evaluation: the unscheduled sampling settings; else the iteration's."""
    scoring: ScoringConfig
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    retention: Literal["KeepAll", "KeepBest", "KeepLast"] = "KeepAll"
    push: PushConfig | None = None
    offline_iterations: tuple[int, ...] = ()
    """Iterations whose `pairs` is Offline by the schedule, so that Preparation can refuse data without pairs."""

    def manifest_of(self, phase: Phase, iteration: int) -> str | None:
        """The digest of a committed phase's manifest, or None where it was skipped or not yet done."""
        for done in self.committed:
            if (done.phase, done.iteration) == (phase, iteration):
                return done.manifest
        return None


class ShardProgress(ContractModel):
    """Chunks of the phase that are committed, by whichever pod, and how many there are."""

    done: int
    total: int


class PhaseError(ContractModel):
    """Why a pod ended; `reason` is CamelCase, `message` names the field, what was found, what is allowed."""

    reason: str
    message: str


class TerminationMessage(ContractModel):
    """What a pod says of itself: rewritten at every commit, so that a killed pod still says how far it came.

    At most `TERMINATION_MESSAGE_LIMIT` bytes as JSON. Written by the runtime, read by the operator.
    """

    manifest: Digest | None = None  # set once the whole phase is committed
    rows: int | None = None
    chunks: ShardProgress | None = None  # Generation and Scoring
    checkpoint_step: int | None = None  # Training: the newest committed checkpoint
    metrics: dict[str, float] = {}  # at most 16
    best_iteration: int | None = None  # Evaluation
    model_uri: str | None = Field(default=None, alias="modelURI")  # Evaluation: the best model that retention leaves
    error: PhaseError | None = None
