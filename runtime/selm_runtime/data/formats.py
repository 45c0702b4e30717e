"""The declared formats of preference data: one pure function each, from a record to a row.

Source of the shapes: the dataset cards of HuggingFaceH4/ultrafeedback_binarized, Anthropic/hh-rlhf and
berkeley-nest/Nectar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selm_runtime.contract import ColumnsConfig
from selm_runtime.data.rows import PromptRow
from selm_runtime.errors import InvalidInput

Record = Mapping[str, Any]
ReadRecord = Callable[[Record, ColumnsConfig], PromptRow]

ROLES = ("system", "user", "assistant", "tool")
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
_SHOWN = 60


class FieldError(Exception):
    """A field of a record that is not what its format says."""

    def __init__(self, field: str, found: str, allowed: str) -> None:
        super().__init__(f"field {field!r}: found {found}, allowed is {allowed}")


def detect_format(record: Record, columns: ColumnsConfig) -> str:
    """The format of a record for `format: Auto`. Raises FieldError naming the columns where none fits."""
    prompt, chosen, rejected = (record.get(name) for name in (columns.prompt, columns.chosen, columns.rejected))
    if isinstance(record.get("answers"), Sequence) and not isinstance(record["answers"], str):
        return "Nectar"
    if chosen is not None and rejected is not None:
        if _several_turns(chosen, rejected):
            return "MultiTurn"
        transcripts = all(isinstance(text, str) and _ASSISTANT in text for text in (chosen, rejected))
        return "AnthropicHH" if transcripts else "UltraFeedback"
    if prompt is not None and columns.chosen not in record and columns.rejected not in record:
        return "Prompts"
    raise FieldError(
        columns.prompt,
        f"columns {', '.join(record) or 'none'}",
        f"{columns.prompt!r}, {columns.chosen!r} and {columns.rejected!r} (UltraFeedback), transcripts in "
        f"{columns.chosen!r} and {columns.rejected!r} (AnthropicHH), {columns.prompt!r} and 'answers' (Nectar), "
        f"lists of turns after {columns.prompt!r} in {columns.chosen!r} and {columns.rejected!r} (MultiTurn), or "
        f"{columns.prompt!r} alone (Prompts); spec.data.columns maps other names",
    )


def reader_of(data_format: str) -> ReadRecord:
    """The function that reads records of a format (not Auto)."""
    return _READERS[data_format]


def read_record(record: Record, number: int, data_format: str, columns: ColumnsConfig, where: str) -> PromptRow:
    """One record as a row. Raises InvalidInput naming the row (from 0), the field, what was found and allowed."""
    try:
        return reader_of(data_format)(record, columns)
    except FieldError as error:
        raise InvalidInput(
            "InvalidData",
            f"spec.data: row {number} of {where} (format {data_format}): {error}; the row has columns "
            f"{', '.join(record) or 'none'}",
        ) from error


def _ultra_feedback(record: Record, columns: ColumnsConfig) -> PromptRow:
    chosen = _field(record, columns.chosen)
    rejected = _field(record, columns.rejected)
    prompt, chosen_text = _split(record, chosen, columns.chosen, columns)
    rejected_prompt, rejected_text = _split(record, rejected, columns.rejected, columns)
    if rejected_prompt != prompt:
        raise FieldError(
            columns.rejected, "another conversation before its response", f"the conversation of {columns.chosen!r}"
        )
    return PromptRow(
        prompt, chosen_text, rejected_text, _others(record, columns.prompt, columns.chosen, columns.rejected)
    )


def _split(record: Record, value: Any, field: str, columns: ColumnsConfig) -> tuple[tuple[dict[str, str], ...], str]:
    """(conversation, response) of a message list that ends with the response, or of a plain response."""
    if isinstance(value, str):
        return _prompt(record, columns.prompt), value
    messages = _messages(value, field)
    if messages[-1]["role"] != "assistant":
        raise FieldError(
            field, f"a last message of role {messages[-1]['role']!r}", "a last message of role 'assistant'"
        )
    before = messages[:-1]
    return (before if before else _prompt(record, columns.prompt)), messages[-1]["content"]


def _several_turns(chosen: Any, rejected: Any) -> bool:
    """Whether both are lists of messages that differ before their last one: no answers to one conversation."""
    lists = all(isinstance(value, Sequence) and not isinstance(value, str) for value in (chosen, rejected))
    return lists and list(chosen[:-1]) != list(rejected[:-1])


def _multi_turn(record: Record, columns: ColumnsConfig) -> PromptRow:
    prompt = _prompt(record, columns.prompt)
    chosen, rejected = (_trajectory(record, field, prompt) for field in (columns.chosen, columns.rejected))
    return PromptRow(
        prompt,
        chosen[-1]["content"],
        rejected[-1]["content"],
        _others(record, columns.prompt, columns.chosen, columns.rejected),
        chosen_turns=chosen[:-1],
        rejected_turns=rejected[:-1],
    )


def _trajectory(record: Record, field: str, prompt: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
    """What follows the prompt: turns of the assistant, with those of tools or users between them."""
    value = _field(record, field)
    messages = ({"role": "assistant", "content": value},) if isinstance(value, str) else _messages(value, field)
    turns = messages[len(prompt) :] if messages[: len(prompt)] == prompt else messages
    for place, name in ((0, "first"), (-1, "last")):
        role = turns[place]["role"] if turns else "none"
        if role != "assistant":
            raise FieldError(field, f"a {name} turn of role {role!r} after the prompt", "one of role 'assistant'")
    system = next((number for number, turn in enumerate(turns) if turn["role"] == "system"), None)
    if system is not None:
        raise FieldError(f"{field}[{system}]", "a system message in the response", "a role of user, assistant, tool")
    return turns


def _anthropic_hh(record: Record, columns: ColumnsConfig) -> PromptRow:
    chosen = _turns(_text(record, columns.chosen), columns.chosen)
    rejected = _turns(_text(record, columns.rejected), columns.rejected)
    for field, turns in ((columns.chosen, chosen), (columns.rejected, rejected)):
        if turns[-1]["role"] != "assistant":
            raise FieldError(field, "a transcript that ends with a Human turn", "one that ends with an Assistant turn")
    if chosen[:-1] != rejected[:-1]:
        raise FieldError(
            columns.rejected, "another conversation before its response", f"the conversation of {columns.chosen!r}"
        )
    prompt = _conversation(tuple(chosen[:-1]), columns.chosen)
    return PromptRow(
        prompt, chosen[-1]["content"], rejected[-1]["content"], _others(record, columns.chosen, columns.rejected)
    )


def _nectar(record: Record, columns: ColumnsConfig) -> PromptRow:
    turns = _turns(_text(record, columns.prompt), columns.prompt)
    if turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    prompt = _conversation(tuple(turns), columns.prompt)
    answers = _field(record, "answers")
    if not isinstance(answers, Sequence) or isinstance(answers, str) or len(answers) < 2:
        raise FieldError("answers", _shown(answers), "a list of at least two answers with 'answer' and 'rank'")
    ranked = []
    for index, answer in enumerate(answers):
        rank = answer.get("rank") if isinstance(answer, Mapping) else None
        text = answer.get("answer") if isinstance(answer, Mapping) else None
        if not isinstance(rank, int | float) or isinstance(rank, bool) or not isinstance(text, str):
            raise FieldError(f"answers[{index}]", _shown(answer), "a text in 'answer' and a number in 'rank'")
        ranked.append((float(rank), text))
    best = min(ranked, key=lambda item: item[0])
    worst = max(ranked, key=lambda item: item[0])
    if best[0] == worst[0]:
        raise FieldError("answers", f"rank {best[0]} for all of them", "at least two different ranks")
    return PromptRow(prompt, best[1], worst[1], _others(record, columns.prompt, "answers"))


def _prompts(record: Record, columns: ColumnsConfig) -> PromptRow:
    return PromptRow(_prompt(record, columns.prompt), None, None, _others(record, columns.prompt))


_READERS: dict[str, ReadRecord] = {
    "UltraFeedback": _ultra_feedback,
    "AnthropicHH": _anthropic_hh,
    "Nectar": _nectar,
    "Prompts": _prompts,
    "MultiTurn": _multi_turn,
}


def _field(record: Record, field: str) -> Any:
    value = record.get(field)
    if value is None:
        raise FieldError(field, "null" if field in record else "no such column", "a text or a list of messages")
    return value


def _text(record: Record, field: str) -> str:
    value = _field(record, field)
    if not isinstance(value, str):
        raise FieldError(field, _shown(value), "a text")
    return value


def _prompt(record: Record, field: str) -> tuple[dict[str, str], ...]:
    value = _field(record, field)
    messages = ({"role": "user", "content": value},) if isinstance(value, str) else _messages(value, field)
    return _conversation(messages, field)


def _conversation(messages: tuple[dict[str, str], ...], field: str) -> tuple[dict[str, str], ...]:
    """Messages that a response can follow."""
    if not messages or messages[-1]["role"] == "assistant":
        found = "a conversation that ends with the assistant" if messages else "no message"
        raise FieldError(field, found, "a conversation that a response can follow")
    if not messages[-1]["content"].strip():
        raise FieldError(field, "an empty text", "a text that can be answered")
    return messages


def _messages(value: Any, field: str) -> tuple[dict[str, str], ...]:
    if not isinstance(value, Sequence) or isinstance(value, bytes) or not value:
        raise FieldError(field, _shown(value), "a text or a list of messages with 'role' and 'content'")
    messages = []
    for index, message in enumerate(value):
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        if role not in ROLES or not isinstance(content, str):
            raise FieldError(
                f"{field}[{index}]", _shown(message), f"a text in 'content' and a 'role' of {', '.join(ROLES)}"
            )
        messages.append({"role": role, "content": content})
    return tuple(messages)


def _turns(transcript: str, field: str) -> list[dict[str, str]]:
    r"""A transcript of `\n\nHuman: ...` and `\n\nAssistant: ...` as messages."""
    if not transcript.startswith(_HUMAN):
        raise FieldError(field, _shown(transcript), r"a transcript that begins with '\n\nHuman:'")
    turns = []
    for part in transcript.split(_HUMAN)[1:]:
        human, *answers = part.split(_ASSISTANT)
        turns.append({"role": "user", "content": human.strip()})
        turns += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    return turns


def _others(record: Record, *used: str) -> dict[str, str]:
    """The other scalar columns as texts, for rules that read them."""
    return {
        name: _scalar(value)
        for name, value in record.items()
        if name not in used and isinstance(value, str | int | float | bool)
    }


def _scalar(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({type(value).__name__})"
