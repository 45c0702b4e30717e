"""The policy's answers to a suite's prompts, by the generation's sampling and with seeds that do not change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from selm_runtime.data.goals import asked_prompt
from selm_runtime.data.tokens import Tokenizer, encode_prompt
from selm_runtime.engine import Engine, Request, keep_compiled, kept_name
from selm_runtime.errors import InvalidInput
from selm_runtime.generate.loop import RequestEngine
from selm_runtime.generate.seeds import request_seed
from selm_runtime.generate.shard import engine_settings, sampling
from selm_runtime.phase import PhaseContext

MAX_CONTEXT = 16_384
"""Tokens of a conversation and its next answer at most, where the model's own context is longer."""

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Answer:
    """One answer; `cut` says that the conversation was longer than the model's context leaves room for."""

    text: str
    finish_reason: str
    tokens: int
    cut: bool


class Answering:
    """A model that answers conversations, one batch after the other."""

    def __init__(self, ctx: PhaseContext, engine: RequestEngine, tokenizer: Tokenizer, longest: int) -> None:
        """`longest`: tokens that a conversation may have."""
        self._ctx, self._engine, self._tokenizer, self._longest = ctx, engine, tokenizer, longest

    def answer(self, conversations: Sequence[Messages], purpose: str) -> list[Answer]:
        """In their order. The seed of each is of the run's seed, its place and `purpose`, so that iterations compare.

        Raises TemporaryFailure between two steps of the engine once the pod was asked to go.
        """
        whole = [encoded(self._ctx, self._tokenizer, messages) for messages in conversations]
        self._engine.forget()
        for index, ids in enumerate(whole):
            seed = request_seed(self._ctx.config.seed, 0, index, "Current", 0, purpose)
            self._engine.submit(Request(str(index), ids[-self._longest :], seed))
        done: dict[int, Answer] = {}
        while self._engine.unfinished:
            self._ctx.stop.check()
            for completion in self._engine.step():
                (text,) = self._tokenizer.batch_decode([list(completion.ids)], skip_special_tokens=True)
                index = int(completion.key)
                cut = len(whole[index]) > self._longest
                done[index] = Answer(text, completion.finish_reason, len(completion.ids), cut)
            self._ctx.reporter.progress(done=len(done), total=len(whole), unit="prompts")
        return [done[index] for index in range(len(whole))]


def encoded(ctx: PhaseContext, tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """By the model's chat template, asked as the run's own prompts are."""
    return encode_prompt(tokenizer, list(asked_prompt(ctx.config.data, messages)))


@contextmanager
def answering(
    ctx: PhaseContext,
    model: Path,
    tokenizer: Tokenizer,
    max_tokens: int,
    field: str,
    conversations: Sequence[Messages],
    grows: int = 0,
) -> Iterator[Answering]:
    """An engine of this process for as long as the block lasts, with room for the longest of these conversations and
    `grows` more tokens, as far as the model's context goes: what an engine reserves grows with its sequences.

    Raises InvalidInput where `max_tokens`, the field's, are more than half of the context.
    """
    context = json.loads((model / "config.json").read_text()).get("max_position_embeddings")
    most = min(context if isinstance(context, int) else MAX_CONTEXT, MAX_CONTEXT)
    if 2 * max_tokens > most:
        raise InvalidInput(
            "TooLong",
            f"{field}.maxTokens: found {max_tokens}, allowed is at most {most // 2}, half of the model's context",
        )
    needed = max(len(encoded(ctx, tokenizer, messages)) for messages in conversations) + grows
    longest = min(most - max_tokens, needed)
    engine = start_engine(ctx, model, tokenizer.eos_token_id, longest, max_tokens)
    try:
        yield Answering(ctx, engine, tokenizer, longest)
    finally:
        engine.close()


def start_engine(
    ctx: PhaseContext, model: Path, eos_token_id: int | None, max_prompt_tokens: int, max_tokens: int
) -> RequestEngine:
    """Of the model in that folder, with the generation's arguments and unscheduled sampling."""
    keep_compiled(ctx.cache.kept(kept_name()))
    settings = replace(engine_settings(ctx, model), max_prompt_tokens=max_prompt_tokens, max_new_tokens=max_tokens)
    return Engine(settings, replace(sampling(ctx, model, eos_token_id), max_tokens=max_tokens))
