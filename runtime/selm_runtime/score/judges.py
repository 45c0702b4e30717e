"""From a phase's context to its judges: whom to ask, with which prompt, key, cache and budget."""

from __future__ import annotations

import os

from selm_runtime.artifacts.chunks import chunks_of_shard
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import JudgeConfig, Phase, ScorerConfig, SuiteJudgeConfig, judge_key_variable
from selm_runtime.errors import InvalidInput
from selm_runtime.inputs import starting_model
from selm_runtime.judge.cache import ReplyCache
from selm_runtime.judge.chat import ChatModel
from selm_runtime.judge.client import ChatClient, Endpoint
from selm_runtime.judge.limits import TokenBudget
from selm_runtime.phase import PhaseContext
from selm_runtime.score.judge import GradingJudge, PairwiseJudge, judge_of
from selm_runtime.score.judge_prompts import TEMPLATE, JudgePrompt


def build_judge(
    ctx: PhaseContext, preparation: Manifest, scorer: ScorerConfig, judge: JudgeConfig, field: str
) -> PairwiseJudge | GradingJudge:
    """The judge of Scoring or Evaluation; `field` is its path in the spec (`spec.scoring.scorers[0].judge`)."""
    prompt = JudgePrompt(judge, _template(ctx, preparation, scorer, judge), field)
    if judge.policy is None:
        model: ChatModel = endpoint_client(ctx, scorer, judge, field)
    else:
        model = _policy(ctx, preparation, judge)
    return judge_of(scorer.name, model, prompt, judge, field, ctx.stop.check)


def endpoint_client(ctx: PhaseContext, scorer: ScorerConfig, judge: JudgeConfig, field: str) -> ChatClient:
    """The client of a judge's endpoint, with the namespace's cache and the budget that is left to this pod."""
    return chat_client(ctx, judge, field, judge_key_variable(scorer.name), _budget(ctx, scorer, judge, field))


def chat_client(
    ctx: PhaseContext, judge: JudgeConfig | SuiteJudgeConfig, field: str, key_variable: str, budget: TokenBudget
) -> ChatClient:
    """Of a scorer's or a suite's judge, with the namespace's cache; the key is in the environment's variable.

    Raises InvalidInput where there is no endpoint to ask.
    """
    if judge.endpoint is None or judge.model is None:
        raise InvalidInput(
            "InvalidScorer", f"{field}: found no endpoint and model, and no policy; one of both is needed"
        )
    endpoint = Endpoint(
        judge.endpoint,
        judge.model,
        field,
        api_key=os.environ.get(key_variable),
        concurrency=judge.concurrency,
        requests_per_minute=judge.requests_per_minute,
    )
    return ChatClient(endpoint, ReplyCache(ctx.store, ctx.config.run.namespace), budget)


def _budget(ctx: PhaseContext, scorer: ScorerConfig, judge: JudgeConfig, field: str) -> TokenBudget:
    """A shard's share of the budget is that of its chunks; what they took in earlier attempts is spent."""
    if judge.token_budget is None or ctx.config.phase is not Phase.SCORING:
        return TokenBudget(judge.token_budget, f"{field}.tokenBudget")
    total = ctx.folder.total_chunks()
    mine = chunks_of_shard(total, ctx.index, ctx.config.scoring.shards)
    committed = ctx.folder.chunks()
    spent = sum(committed[c].metrics.get(f"scorer.{scorer.name}.tokens", 0) for c in mine if c in committed)
    share = -(-judge.token_budget * len(mine) // total)
    return TokenBudget(share, f"{field}.tokenBudget", spent=int(spent))


def _template(ctx: PhaseContext, preparation: Manifest, scorer: ScorerConfig, judge: JudgeConfig) -> str | None:
    if judge.template is None:
        return None
    name = f"scorers/{scorer.name}/{TEMPLATE}"
    folder = ctx.folder.fetch(preparation, name, ctx.scratch / "judges" / scorer.name)
    path = folder / TEMPLATE if (folder / TEMPLATE).exists() else folder
    return path.read_text(encoding="utf-8")


def _policy(ctx: PhaseContext, preparation: Manifest, judge: JudgeConfig) -> ChatModel:
    from selm_runtime.judge.policy import PolicyJudge

    generation = ctx.config.generation
    base = judge.policy == "Base" or ctx.config.phase is Phase.EVALUATION
    manifest = preparation if base else ctx.folder.manifest(*starting_model(ctx.config))
    return PolicyJudge(
        ctx.cache.model(manifest),
        judge.max_tokens,
        judge.temperature,
        trust_remote_code=ctx.config.model.trust_remote_code,
        tensor_parallel_size=generation.tensor_parallel_size,
        engine_args=dict(generation.engine_args),
    )
