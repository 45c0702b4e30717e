"""Token ids: one BOS, one EOS, lengths as the spec says, for every response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selm_runtime.contract import TrainingConfig
from selm_runtime.data.tokens import (
    encode_prompt,
    encode_response,
    load_tokenizer,
    truncate,
    truncate_prompt,
    truncate_response,
)
from selm_runtime.errors import InvalidInput
from support.phase_configs import phase_config
from support.tiny_model import CHAT_TEMPLATE, make_tokenizer

MESSAGES = [{"role": "user", "content": "hi"}]
BOS, EOS, USER, ASSISTANT = 1, 2, 3, 4
WITHOUT_BOS = CHAT_TEMPLATE.replace("{{ bos_token }}", "")
TWICE_BOS = CHAT_TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}{{ bos_token }}")


def _tokenizer(template: str = CHAT_TEMPLATE, *, adds_bos: bool = True) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    if not adds_bos:
        from tokenizers import processors

        tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    return tokenizer


@pytest.mark.parametrize(
    ("template", "adds_bos", "expected"),
    [
        (CHAT_TEMPLATE, True, 1),
        (CHAT_TEMPLATE, False, 1),
        (WITHOUT_BOS, True, 1),
        (WITHOUT_BOS, False, 0),
        (TWICE_BOS, True, 1),
    ],
)
def test_a_prompt_has_one_bos_if_template_or_tokenizer_has_one(template: str, adds_bos: bool, expected: int) -> None:
    ids = encode_prompt(_tokenizer(template, adds_bos=adds_bos), MESSAGES)
    assert ids.count(BOS) == expected
    assert ids[:expected] == [BOS] * expected
    assert ids[expected] == USER
    assert ids[-1] == ASSISTANT


def test_a_model_without_bos_gets_none() -> None:
    tokenizer = _tokenizer(WITHOUT_BOS)
    tokenizer.bos_token = None
    assert BOS not in encode_prompt(tokenizer, MESSAGES)


def test_several_turns_are_kept() -> None:
    conversation = [*MESSAGES, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "on"}]
    ids = encode_prompt(_tokenizer(), conversation)
    assert (ids.count(USER), ids.count(ASSISTANT), ids.count(EOS)) == (2, 2, 1)


@pytest.mark.parametrize("text", ["yes", "yes</s>", "yes</s></s>", ""])
def test_a_response_has_one_eos_and_no_bos(text: str) -> None:
    ids = encode_response(_tokenizer(), text)
    assert ids.count(EOS) == 1
    assert ids[-1] == EOS
    assert BOS not in ids


def test_prompt_and_response_make_what_the_template_makes_of_both() -> None:
    tokenizer = _tokenizer()
    whole = tokenizer.apply_chat_template([*MESSAGES, {"role": "assistant", "content": "yes"}], tokenize=False)
    expected = tokenizer(whole, add_special_tokens=False).input_ids
    assert encode_prompt(tokenizer, MESSAGES) + encode_response(tokenizer, "yes") == expected


def _training(**change: Any) -> TrainingConfig:
    return phase_config(training={"maxLength": 10, "maxPromptLength": 6, **change}).training


def test_keep_end_keeps_the_prompts_end_and_keep_start_its_start() -> None:
    ids = list(range(20))
    assert truncate_prompt(ids, _training()) == [14, 15, 16, 17, 18, 19]
    assert truncate_prompt(ids, _training(truncation="KeepStart")) == [0, 1, 2, 3, 4, 5]
    assert truncate_prompt(ids[:6], _training()) == ids[:6]


@pytest.mark.parametrize("truncation", ["KeepEnd", "KeepStart"])
@pytest.mark.parametrize("prompt", [1, 6, 7, 100])
def test_every_response_is_cut_to_max_length_and_none_is_left_empty(prompt: int, truncation: str) -> None:
    responses = [list(range(n)) for n in (1, 4, 5, 100)]  # chosen, rejected and explored are treated alike
    cut, cut_responses = truncate(list(range(prompt)), responses, _training(truncation=truncation))
    assert len(cut) == min(prompt, 6)
    for before, after in zip(responses, cut_responses, strict=True):
        assert after == before[: 10 - len(cut)]
        assert 1 <= len(after) <= 10 - len(cut)


def test_a_prompt_that_was_not_cut_and_an_empty_response_are_errors() -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        truncate_response([1], 10, _training())
    with pytest.raises(ValueError, match="EOS"):
        truncate_response([], 3, _training())


def test_a_tokenizer_is_loaded_from_a_folder(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    assert encode_prompt(load_tokenizer(tmp_path), MESSAGES) == encode_prompt(_tokenizer(), MESSAGES)


def test_a_tokenizer_without_chat_template_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match="no chat template"):
        load_tokenizer(tmp_path)


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        load_tokenizer(tmp_path)
