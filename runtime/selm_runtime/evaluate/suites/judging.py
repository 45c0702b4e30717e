"""The judge of a suite: whom to ask, with which key, cache and budget, and what is counted of its answers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence

from selm_runtime.contract import SuiteJudgeConfig, suite_key_variable
from selm_runtime.judge.cache import ReplyCache
from selm_runtime.judge.chat import ChatModel, ChatReply, ChatRequest
from selm_runtime.judge.client import ChatClient, Endpoint
from selm_runtime.judge.limits import TokenBudget
from selm_runtime.phase import PhaseContext
from selm_runtime.score.judge import NONSENSE_ANSWERS, nonsense

Read = Callable[[ChatReply], float | None]
"""A verdict, or None where the answer holds none."""


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


def ask(
    model: ChatModel, requests: Sequence[ChatRequest], read: Read, field: str, between: Callable[[], None]
) -> tuple[list[float | None], dict[str, int]]:
    """Verdicts in the requests' order, and counts: `asked`, `refused` by the endpoint, `unreadable`, `tokens`.

    None is guessed: what was refused or cannot be read has no verdict. Raises InvalidInput where none of many answers
    has one.
    """
    replies = model.complete(requests, between)
    verdicts = [None if reply is None else read(reply) for reply in replies]
    answered = [reply for reply in replies if reply is not None]
    counts = Counter(
        asked=len(requests),
        refused=len(replies) - len(answered),
        unreadable=sum(read(reply) is None for reply in answered),
        tokens=sum(reply.tokens or 0 for reply in answered),
    )
    if len(verdicts) >= NONSENSE_ANSWERS and all(verdict is None for verdict in verdicts):
        raise nonsense(field, replies)
    return verdicts, dict(counts)
