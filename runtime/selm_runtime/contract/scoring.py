"""Scorers and the pairs that are made from their scores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selm_runtime.contract.base import ContractModel


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
    engine: Literal["Transformers", "VLLM"] = "Transformers"


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
