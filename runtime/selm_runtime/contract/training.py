"""Training: hyper-parameters, adapters, trackers, and how its ranks find each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selm_runtime.contract.base import ContractModel
from selm_runtime.contract.objective import ObjectiveConfig


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
    compile: bool = False
    report_to: ReportToConfig | None = None
    nodes: int = 1
    ranks_per_node: int = 1
    zero_stage: int = 3
    checkpoint: CheckpointConfig = CheckpointConfig()
    rendezvous: RendezvousConfig | None = None  # present in the Training phase's config only
