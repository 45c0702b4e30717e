"""How responses are generated."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from selm_runtime.contract.base import ContractModel


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
    weights: Literal["Cache", "Stream"] = "Cache"
    engine_args: dict[str, Any] = Field(default_factory=dict)

    @field_validator("policies")
    @classmethod
    def _current_first(cls, policies: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(policies))
