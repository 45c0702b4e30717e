"""Checking a model's tokenizer and chat template as every later phase uses them, before a GPU is asked for.

The common form (tokenizer.json) is checked with the tokenizers library and the template engine alone: loading it as the
later phases do imports all of torch, which takes longer than the rest of Preparation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from selm_runtime.data.tokens import encode_prompt, load_tokenizer
from selm_runtime.errors import InvalidInput

SAMPLE = ({"role": "user", "content": "Hello"},)


def check_tokenizer(local: Path, model: Mapping[str, Any], *, trust_remote_code: bool) -> None:
    """Encode one conversation. Raises InvalidInput where the tokenizer or the template does not allow it.

    `local` holds the model's small files, `model` is its config.json.
    """
    if (local / "tokenizer.json").exists():
        ids = _encode_fast(local)
    else:
        tokenizer = load_tokenizer(local, trust_remote_code=trust_remote_code)
        try:
            ids = encode_prompt(tokenizer, SAMPLE)
        except Exception as error:  # the template is a program of the model's: whatever it raises is told
            raise _template_error(error) from error
    if not ids:
        raise InvalidInput("NoChatTemplate", "spec.model: its chat template makes an empty prompt")
    vocabulary = model.get("vocab_size")
    if isinstance(vocabulary, int) and max(ids) >= vocabulary:
        raise InvalidInput(
            "InvalidTokenizer",
            f"spec.model: its tokenizer gives token {max(ids)}, but the model knows {vocabulary}: they do not belong "
            "together",
        )


def chat_template_of(local: Path, config: Mapping[str, Any]) -> str:
    """The template in chat_template.jinja or in tokenizer_config.json (`config`); InvalidInput where there is none."""
    file = local / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, Mapping)}
        template = named.get("default")
    if not isinstance(template, str) or not template:
        raise InvalidInput(
            "NoChatTemplate",
            "spec.model: its tokenizer has no chat template; allowed is a chat model, with chat_template.jinja or a "
            "chat_template in tokenizer_config.json",
        )
    return template


def _encode_fast(local: Path) -> list[int]:
    from transformers.utils import chat_template_utils

    render: Any = chat_template_utils.render_jinja_template
    config = _json(local / "tokenizer_config.json")
    try:
        tokenizer = Tokenizer.from_file(str(local / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise InvalidInput("InvalidTokenizer", f"spec.model: tokenizer.json cannot be loaded: {error}") from error
    specials = {**_json(local / "special_tokens_map.json"), **config}
    eos = _token(specials.get("eos_token"))
    if eos is None or tokenizer.token_to_id(eos) is None:
        raise InvalidInput(
            "InvalidTokenizer", f"spec.model: its tokenizer has no EOS token (found {eos!r}), which ends each response"
        )
    template = chat_template_of(local, config)
    tokens = {name: _token(specials.get(name)) or "" for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    try:
        rendered, _ = render(
            conversations=[[dict(message) for message in SAMPLE]],
            chat_template=template,
            add_generation_prompt=True,
            **tokens,
        )
    except Exception as error:  # the template is a program of the model's: whatever it raises is told
        raise _template_error(error) from error
    return list(tokenizer.encode(rendered[0], add_special_tokens=False).ids)


def _template_error(error: Exception) -> InvalidInput:
    return InvalidInput("NoChatTemplate", f"spec.model: its chat template fails on a user's message: {error}")


def _token(value: Any) -> str | None:
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) and content else None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidInput("InvalidTokenizer", f"spec.model: {path.name} is no JSON: {error}") from error
    return value if isinstance(value, dict) else {}
