"""Responses of several turns: what of them is the policy's own and in the loss, and what others said.

A response of a multi-turn run is a trajectory: the policy writes, a tool or a user answers, the policy goes on. The
chat template writes all of it; the policy's turns are trained on, everything between them (the answers and the
template's own words) is context alone. Tokens outside of the loss are held as their complement, `~id`, a negative
number: ids and mask then travel as one list through tables, truncation and comparison, and cannot come apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selm_runtime.data.templates import Message, refusals_told
from selm_runtime.data.tokens import Tokenizer, encode_response
from selm_runtime.errors import InvalidInput


def outside_loss(ids: Iterable[int]) -> list[int]:
    """Token ids as tokens that are context alone."""
    return [~token for token in ids]


def in_loss(token: int) -> bool:
    """Whether a response's token is trained on."""
    return token >= 0


def token_id(token: int) -> int:
    """What the model reads, in the loss or outside of it."""
    return token if token >= 0 else ~token


def encode_side(tokenizer: Tokenizer, row: Mapping[str, Any], side: str) -> list[int]:
    """The data's own response of a PROMPTS row (`side` is chosen or rejected) as token ids, one EOS after each turn.

    Raises InvalidInput where the chat template does not write the turns as they are.
    """
    turns = row.get(f"{side}_turns")
    if not turns:
        return encode_response(tokenizer, row[side])
    ids: list[int] = []
    for text, own in segments(tokenizer, row, side):
        ids += encode_response(tokenizer, text) if own else outside_loss(_plain(tokenizer, text))
    return ids


def segments(tokenizer: Tokenizer, row: Mapping[str, Any], side: str) -> list[tuple[str, bool]]:
    """(text, whether it is the policy's own) in order, beginning and ending with a turn of the policy.

    The policy's own texts are as the data has them, without the template's end of turn, for which EOS stands.
    """
    prompt: list[Message] = list(row["prompt"])
    messages = [*prompt, *row[f"{side}_turns"], {"role": "assistant", "content": row[side]}]
    where = f"row {row['row']}, {side}"
    whole = _render(tokenizer, messages, where, generation=False)
    found: list[tuple[str, bool]] = []
    position: int | None = None  # up to where `whole` is told
    for number in range(len(prompt), len(messages)):
        message = messages[number]
        if message["role"] != "assistant":
            continue
        before = _render(tokenizer, messages[:number], where, generation=True)
        text = _as_written(whole, before, message["content"])
        if text is None:
            raise _not_as_is(
                row, side, f"turn {number - len(prompt)} (assistant) is not in the template's text as it is"
            )
        if position is not None:
            found.append((_without_end(whole[position : len(before)], tokenizer), False))
        found.append((message["content"], True))
        position = len(before) + len(text)
    _check_answers(row, side, messages[len(prompt) :], [text for text, own in found if not own])
    return found


def check_turns(tokenizer: Tokenizer, row: Mapping[str, Any]) -> None:
    """Raises InvalidInput naming the row where the chat template does not write its turns as they are."""
    for side in ("chosen", "rejected"):
        if row.get(f"{side}_turns"):
            segments(tokenizer, row, side)


def _check_answers(row: Mapping[str, Any], side: str, turns: Sequence[Message], between: Sequence[str]) -> None:
    """Templates leave out roles that they do not know, without a word."""
    text = "".join(between)
    position = 0
    for number, turn in enumerate(turns):
        if turn["role"] == "assistant":
            continue
        words = turn["content"].strip()
        place = text.find(words, position)
        if place < 0:
            raise _not_as_is(row, side, f"turn {number} ({turn['role']}) is not in the template's text")
        position = place + len(words)


def _as_written(whole: str, before: str, content: str) -> str | None:
    """The turn's text as the template writes it: some trim it. None where it writes another."""
    if not whole.startswith(before):
        return None
    return next((text for text in (content, content.strip()) if whole.startswith(text, len(before))), None)


def _without_end(between: str, tokenizer: Tokenizer) -> str:
    """The text between two turns without the template's own end of the first one."""
    end = getattr(tokenizer, "eos_token", None)
    return between.removeprefix(end) if end else between


def _render(tokenizer: Tokenizer, messages: Sequence[Message], where: str, *, generation: bool) -> str:
    with refusals_told("spec.model", where, messages):
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=generation, tokenize=False
        )
    return text


def _plain(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = list(tokenizer(text, add_special_tokens=False).input_ids)
    return ids


def _not_as_is(row: Mapping[str, Any], side: str, what: str) -> InvalidInput:
    return InvalidInput(
        "TemplateChangesTurns",
        f"spec.data: row {row['row']}, {side}: {what}; allowed is a model whose chat template writes every turn and role of "
        "the data as it is, earlier turns too",
    )
