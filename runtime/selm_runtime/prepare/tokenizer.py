"""Checking a model's tokenizer and chat template as every later phase uses them, before a GPU is asked for.

The common form (tokenizer.json) is checked with the tokenizers library and the template engine alone: loading it as the
later phases do imports all of torch, which takes longer than the rest of Preparation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from selm_runtime.data.templates import Message, Render, template_refused
from selm_runtime.data.tokens import encode_prompt, load_tokenizer
from selm_runtime.errors import InvalidInput

SAMPLE = ({"role": "user", "content": "Hello"},)
DIALOGUE = (*SAMPLE, {"role": "assistant", "content": "Hello."}, *SAMPLE)


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
        except InvalidInput:
            raise
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


def policy_render(local: Path, *, trust_remote_code: bool) -> Render:
    """The policy's chat template as later phases use it; `check_tokenizer` has said yes to the folder."""
    if (local / "tokenizer.json").exists():
        return template_render(local, "spec.model")
    tokenizer = load_tokenizer(local, trust_remote_code=trust_remote_code)

    def render(messages: Sequence[Message], generation: bool) -> str:
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=generation, tokenize=False
        )
        return text

    return render


def template_render(local: Path, field: str) -> Render:
    """A folder's chat template, by the template engine that tokenizers use, without loading one; `field` is the model's
    in the spec. Raises InvalidInput where there is no template; what the template itself raises comes when it is used.
    """
    from transformers.utils import chat_template_utils

    engine: Any = chat_template_utils.render_jinja_template
    config = _json(local / "tokenizer_config.json", field)
    specials = {**_json(local / "special_tokens_map.json", field), **config}
    template = chat_template_of(local, config, field)
    tokens = {name: _token(specials.get(name)) or "" for name in ("bos_token", "eos_token", "pad_token", "unk_token")}

    def render(messages: Sequence[Message], generation: bool) -> str:
        rendered, _ = engine(
            conversations=[[dict(message) for message in messages]],
            chat_template=template,
            add_generation_prompt=generation,
            **tokens,
        )
        text: str = rendered[0]
        return text

    return render


def check_dialogue(render: Render) -> None:
    """Raises InvalidInput where the policy's template does not take a second turn, as MT-Bench asks it."""
    try:
        render(DIALOGUE, True)
    except Exception as error:  # the template is a program of the model's: whatever it raises is told
        raise template_refused("spec.model", "the second turn of spec.evaluation.mtBench", DIALOGUE, error) from error


def chat_template_of(local: Path, config: Mapping[str, Any], field: str) -> str:
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
            f"{field}: its tokenizer has no chat template; allowed is a chat model, with chat_template.jinja or a "
            "chat_template in tokenizer_config.json",
        )
    return template


def _encode_fast(local: Path) -> list[int]:
    try:
        tokenizer = Tokenizer.from_file(str(local / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise InvalidInput("InvalidTokenizer", f"spec.model: tokenizer.json cannot be loaded: {error}") from error
    specials = {**_json(local / "special_tokens_map.json"), **_json(local / "tokenizer_config.json")}
    eos = _token(specials.get("eos_token"))
    if eos is None or tokenizer.token_to_id(eos) is None:
        raise InvalidInput(
            "InvalidTokenizer", f"spec.model: its tokenizer has no EOS token (found {eos!r}), which ends each response"
        )
    render = template_render(local, "spec.model")
    try:
        rendered = render(SAMPLE, True)
    except Exception as error:  # the template is a program of the model's: whatever it raises is told
        raise _template_error(error) from error
    return list(tokenizer.encode(rendered, add_special_tokens=False).ids)


def _template_error(error: Exception) -> InvalidInput:
    return InvalidInput("NoChatTemplate", f"spec.model: its chat template fails on a user's message: {error}")


def _token(value: Any) -> str | None:
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) and content else None


def _json(path: Path, field: str = "spec.model") -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidInput("InvalidTokenizer", f"{field}: {path.name} is no JSON: {error}") from error
    return value if isinstance(value, dict) else {}
