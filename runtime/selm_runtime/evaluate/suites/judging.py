"""The judge of a suite: whom to ask, with which key, cache and budget."""

from __future__ import annotations

import os

from selm_runtime.contract import SuiteJudgeConfig, suite_key_variable
from selm_runtime.judge.cache import ReplyCache
from selm_runtime.judge.client import ChatClient, Endpoint
from selm_runtime.judge.limits import TokenBudget
from selm_runtime.phase import PhaseContext


def suite_judge(ctx: PhaseContext, suite: str, judge: SuiteJudgeConfig, field: str) -> ChatClient:
    """`suite` is the field of `spec.evaluation` (`alpacaEval`), `field` the judge's path in the spec."""
    endpoint = Endpoint(
        judge.endpoint,
        judge.model,
        field,
        api_key=os.environ.get(suite_key_variable(suite)),
        concurrency=judge.concurrency,
        requests_per_minute=judge.requests_per_minute,
    )
    budget = TokenBudget(judge.token_budget, f"{field}.tokenBudget")
    return ChatClient(endpoint, ReplyCache(ctx.store, ctx.config.run.namespace), budget)
