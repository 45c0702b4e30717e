"""The judge of a suite: whom to ask, with which key, cache and budget."""

from __future__ import annotations

from selm_runtime.contract import SuiteJudgeConfig, suite_key_variable
from selm_runtime.judge.client import ChatClient
from selm_runtime.judge.limits import TokenBudget
from selm_runtime.phase import PhaseContext
from selm_runtime.score.judges import chat_client


def suite_judge(ctx: PhaseContext, suite: str, judge: SuiteJudgeConfig, field: str) -> ChatClient:
    """`suite` is the field of `spec.evaluation` (`alpacaEval`), `field` the judge's path in the spec."""
    budget = TokenBudget(judge.token_budget, f"{field}.tokenBudget")
    return chat_client(ctx, judge, field, suite_key_variable(suite), budget)
