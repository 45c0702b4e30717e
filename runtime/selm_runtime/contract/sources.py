"""What a run is made from and where it is kept: the store, the model, the data."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from selm_runtime.contract.base import ContractModel


class ArtifactsConfig(ContractModel):
    """`spec.artifacts`, less the references that became environment or volumes."""

    uri: str
    endpoint: str | None = None
    region: str | None = None
    reuse: Literal["SameNamespace", "None"] = "SameNamespace"


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


class SelectionConfig(ContractModel):
    """Which rows are kept by their fit to the base model; see `selm_runtime.data.fit`."""

    of: Literal["Chosen", "Best", "Prompt"] = "Chosen"
    keep: float


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
    selection: SelectionConfig | None = None

    @model_validator(mode="after")
    def _goal_of_the_transform(self) -> DataConfig:
        if (self.transform == "RewardAugmented") != (self.reward_augmented is not None):
            raise ValueError("rewardAugmented is to be given where transform is RewardAugmented, and only there")
        return self
