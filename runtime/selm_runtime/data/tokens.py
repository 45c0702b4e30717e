"""Between messages and token ids: one BOS, one EOS, and lengths as `spec.training` says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from selm_runtime.contract import TrainingConfig
from selm_runtime.data.templates import Message, refusals_told
from selm_runtime.errors import InvalidInput


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None
    chat_template: Any

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Any: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...

    def batch_decode(self, sequences: Any, **options: Any) -> list[str]: ...

    def __len__(self) -> int: ...


def load_tokenizer(path: Path, *, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a local model folder. Raises InvalidInput where it cannot be loaded or lacks what is needed."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InvalidInput("InvalidTokenizer", f"spec.model: its tokenizer cannot be loaded: {error}") from error
    if tokenizer.chat_template is None:
        raise InvalidInput(
            "NoChatTemplate",
            "spec.model: its tokenizer has no chat template; allowed is a chat model, with chat_template.jinja or a "
            "chat_template in tokenizer_config.json",
        )
    if tokenizer.eos_token_id is None:
        raise InvalidInput("InvalidTokenizer", "spec.model: its tokenizer has no EOS token, which ends each response")
    return cast(Tokenizer, tokenizer)


def encode_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], where: str = "a conversation", field: str = "spec.model"
) -> list[int]:
    """A conversation as the model is asked: chat template, generation prompt, and exactly one BOS if it has one.

    Many templates write the BOS themselves and the tokenizer adds it again to any text; models are trained and
    asked with one. Raises InvalidInput naming the model (`field`) and the conversation (`where`) where the template
    refuses it.
    """
    with refusals_told(field, where, messages):
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
        )
    ids: list[int] = list(tokenizer(text, add_special_tokens=False).input_ids)
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    while ids[:2] == [bos, bos]:
        del ids[0]
    if ids[:1] != [bos] and list(tokenizer("").input_ids)[:1] == [bos]:
        ids.insert(0, bos)
    return ids


def encode_response(tokenizer: Tokenizer, text: str) -> list[int]:
    """A whole response: its own tokens, no others, and exactly one EOS at its end."""
    eos = tokenizer.eos_token_id
    if eos is None:
        raise InvalidInput("InvalidTokenizer", "spec.model: its tokenizer has no EOS token, which ends each response")
    ids: list[int] = list(tokenizer(text, add_special_tokens=False).input_ids)
    while ids and ids[-1] == eos:
        ids.pop()
    return [*ids, eos]


def truncate_prompt(ids: Sequence[int], training: TrainingConfig) -> list[int]:
    """At most `maxPromptLength` tokens: the last ones with KeepEnd, the first ones with KeepStart."""
    limit = training.max_prompt_length
    if len(ids) <= limit:
        return list(ids)
    return list(ids[-limit:] if training.truncation == "KeepEnd" else ids[:limit])


def truncate_response(ids: Sequence[int], prompt_length: int, training: TrainingConfig) -> list[int]:
    """The first tokens of a response, as many as `maxLength` leaves beside a prompt of `prompt_length` tokens.

    At least one is left, since `maxPromptLength` is below `maxLength`. Raises ValueError for an empty response or
    a prompt that was not cut.
    """
    room = training.max_length - prompt_length
    if room < 1:
        raise ValueError(f"a prompt of {prompt_length} tokens leaves no room within maxLength {training.max_length}")
    if not ids:
        raise ValueError("a response has at least its EOS token")
    return list(ids[:room])


def truncate(
    prompt: Sequence[int], responses: Sequence[Sequence[int]], training: TrainingConfig
) -> tuple[list[int], list[list[int]]]:
    """A prompt and its responses (chosen, rejected, explored alike) cut to the lengths of `spec.training`.

    Each sequence of prompt and response then has at most `maxLength` tokens, at least one of them the response's.
    """
    cut = truncate_prompt(prompt, training)
    return cut, [truncate_response(response, len(cut), training) for response in responses]
