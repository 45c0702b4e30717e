"""What Evaluation selects by, and where Push puts the model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from selm_runtime.contract.base import ContractModel


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
    recipe: dict[str, Any] = Field(default_factory=dict)
    """What of the spec the model card shows."""
