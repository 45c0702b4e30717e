"""What Evaluation selects by, its suites, and where Push puts the model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from selm_runtime.contract.base import ContractModel


class SelectByConfig(ContractModel):
    metric: Literal["WinRate", "MeanReward", "PreferenceAccuracy", "LMEval", "AlpacaEval", "MTBench"] = "WinRate"
    scorer: str | None = None
    against: Literal["Base", "Previous"] = "Base"


class LMEvalTaskConfig(ContractModel):
    name: str
    metric: str | None = None


class LMEvalConfig(ContractModel):
    """Tasks of lm-evaluation-harness, from a folder that Preparation imports."""

    uri: str
    revision: str = "main"
    tasks: tuple[LMEvalTaskConfig, ...]
    num_fewshot: int | None = None
    limit: int | None = None
    chat_template: bool = False
    trust_remote_code: bool = False
    batch_size: int = 8


class SuiteJudgeConfig(ContractModel):
    """Whom a suite asks, and within what limits; the key comes by the environment (`suite_key_variable`)."""

    endpoint: str
    model: str
    max_tokens: int | None = None  # absent: the suite's own
    concurrency: int = 8
    requests_per_minute: int | None = None
    token_budget: int | None = None


class AlpacaEvalConfig(ContractModel):
    """AlpacaEval 2.0, from a file that Preparation imports."""

    uri: str
    revision: str = "main"
    limit: int | None = None
    max_tokens: int = 2048
    template: str | None = None
    judge: SuiteJudgeConfig


class MTBenchConfig(ContractModel):
    """MT-Bench, from a file that Preparation imports."""

    uri: str
    revision: str = "main"
    max_tokens: int = 1024
    judge: SuiteJudgeConfig


class EvaluationConfig(ContractModel):
    select_by: SelectByConfig = SelectByConfig()
    lm_eval: LMEvalConfig | None = None
    alpaca_eval: AlpacaEvalConfig | None = None
    mt_bench: MTBenchConfig | None = None

    @property
    def answered(self) -> tuple[str, ...]:
        """The suites that the policy answers as it answers the run's prompts, by their fields in the spec."""
        suites = {"alpacaEval": self.alpaca_eval, "mtBench": self.mt_bench}
        return tuple(name for name, suite in suites.items() if suite is not None)


class PushConfig(ContractModel):
    """`spec.push`; in the Push phase's config only."""

    uri: str
    model: Literal["Best", "Final"] = "Best"
    private: bool = True
    revision: str = "main"
    plain_http: bool = Field(default=False, alias="plainHTTP")
    recipe: dict[str, Any] = Field(default_factory=dict)
    """What of the spec the model card shows."""
