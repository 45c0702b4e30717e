"""The policy's answers to a suite's questions, by the generation's sampling and with seeds that do not change."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selm_runtime.data.goals import asked_prompt
from selm_runtime.data.tokens import Tokenizer, encode_prompt
from selm_runtime.engine import Request, Sampling
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate.engine import Room
from selm_runtime.generate.loop import RequestEngine
from selm_runtime.generate.seeds import request_seed
from selm_runtime.generate.shard import sampling
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


@dataclass(frozen=True)
class Asking:
    """What a suite asks the policy."""

    name: str
    """Of the suite: its field in `spec.evaluation`."""
    room: Room
    conversations: Callable[[Sequence[Sequence[str]]], Sequence[Messages]]
    """The next turn's, from each question's answers so far."""
    questions: int
    turns: tuple[str, ...]
    """What makes each turn's seeds its own."""


def answer_suite(
    ctx: PhaseContext, engine: RequestEngine, model: Path, tokenizer: Tokenizer, suite: Asking
) -> list[list[Answer]]:
    """Each question's answers, turn by turn. An engine call a turn, so that the same policy always says the same.

    The seed of an answer is of the run's seed, the question's place and the turn, so that iterations compare. Raises
    TemporaryFailure between two steps of the engine once the pod was asked to go.
    """
    drawn = replace(sampling(ctx, model, tokenizer.eos_token_id), max_tokens=suite.room.response)
    answers: list[list[Answer]] = [[] for _ in range(suite.questions)]
    for turn in suite.turns:
        asked = suite.conversations([[answer.text for answer in given] for given in answers])
        said = _answer(ctx, engine, tokenizer, drawn, asked, suite.room.prompt, turn)
        for given, answer in zip(answers, said, strict=True):
            given.append(answer)
    return answers


def _answer(
    ctx: PhaseContext,
    engine: RequestEngine,
    tokenizer: Tokenizer,
    drawn: Sampling,
    conversations: Sequence[Messages],
    longest: int,
    purpose: str,
) -> list[Answer]:
    whole = [encoded(ctx, tokenizer, messages) for messages in conversations]
    engine.forget()
    for index, ids in enumerate(whole):
        seed = request_seed(ctx.config.seed, 0, index, "Current", 0, purpose)
        engine.submit(Request(str(index), ids[-longest:], seed, drawn))
    done: dict[int, Answer] = {}
    while engine.unfinished:
        ctx.stop.check()
        for completion in engine.step():
            (text,) = tokenizer.batch_decode([list(completion.ids)], skip_special_tokens=True)
            index = int(completion.key)
            done[index] = Answer(text, completion.finish_reason, len(completion.ids), len(whole[index]) > longest)
        ctx.reporter.progress(done=len(done), total=len(whole), unit="prompts")
    return [done[index] for index in range(len(whole))]


def encoded(ctx: PhaseContext, tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """By the model's chat template, asked as the run's own prompts are."""
    return encode_prompt(tokenizer, list(asked_prompt(ctx.config.data, messages)))


def room_for(
    ctx: PhaseContext,
    model: Path,
    tokenizer: Tokenizer,
    max_tokens: int,
    field: str,
    conversations: Sequence[Messages],
    grows: int = 0,
) -> Room:
    """For the longest of these conversations and `grows` more tokens, and an answer, as far as the model's context goes.

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
    return Room(min(most - max_tokens, needed), max_tokens)
