"""Responses of several turns: what is read of them, what is in the loss, and that nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selm_runtime.contract import ColumnsConfig
from selm_runtime.data.formats import detect_format, read_record
from selm_runtime.data.rows import PromptRow, read_rows, write_rows
from selm_runtime.data.tokens import encode_prompt, encode_response
from selm_runtime.data.turns import check_turns, encode_side, in_loss, outside_loss, segments, token_id
from selm_runtime.errors import InvalidInput
from selm_runtime.prepare.checks import DataFacts, check_data
from selm_runtime.tables import PROMPTS
from selm_runtime.train import model as models
from selm_runtime.train.data import bring_pairs
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair, PairTable
from support.phase_configs import phase_config
from support.tiny_model import make_tokenizer
from support.train_world import TrainWorld

COLUMNS = ColumnsConfig()
CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASK = message("user", "What is 2+3?")
CALL, ANSWER, END = message("assistant", "add(2, 3)"), message("tool", "5"), message("assistant", "It is 5.")
WRONG = [message("assistant", "add(2, 2)"), message("tool", "4"), message("user", "Sure?"), message("assistant", "4.")]
RECORD = {"prompt": [ASK], "chosen": [CALL, ANSWER, END], "rejected": WRONG, "source": "x"}
ROW = PromptRow((ASK,), "It is 5.", "4.", {"source": "x"}, chosen_turns=(CALL, ANSWER), rejected_turns=tuple(WRONG[:3]))


# The format


@pytest.mark.parametrize("data_format", ["MultiTurn", "Auto"])
@pytest.mark.parametrize("whole", [False, True], ids=["turns after the prompt", "whole conversations"])
def test_turns_are_read(data_format: str, whole: bool) -> None:
    record = {**RECORD, **({side: [ASK, *RECORD[side]] for side in ("chosen", "rejected")} if whole else {})}
    found = detect_format(record, COLUMNS) if data_format == "Auto" else data_format
    assert read_record(record, 0, found, COLUMNS, "x") == ROW


def test_answers_to_one_conversation_are_not_taken_for_turns() -> None:
    talk = [ASK, CALL, ANSWER]
    assert detect_format({"prompt": "x", "chosen": [*talk, END], "rejected": [*talk, CALL]}, COLUMNS) == "UltraFeedback"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a first turn that is a tool's": ({"chosen": [ANSWER, END]}, "'chosen': found a first turn of role 'tool'"),
    "a last turn that is a user's": ({"rejected": [CALL, ASK]}, "'rejected': found a last turn of role 'user'"),
    "nothing after the prompt": ({"chosen": [ASK]}, "'chosen': found a first turn of role 'none'"),
    "a system message within": (
        {"chosen": [CALL, message("system", "x"), END]},
        r"'chosen\[1\]': found a system message",
    ),
    "an unknown role": ({"chosen": [CALL, message("observer", "x"), END]}, r"'chosen\[1\]': found"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_turns_name_row_and_field(what: str) -> None:
    change, expected = BAD[what]
    with pytest.raises(InvalidInput, match=f"row 7 .*field {expected}"):
        read_record({**RECORD, **change}, 7, "MultiTurn", COLUMNS, "split 'train'")


def test_rows_keep_their_turns(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", [ROW, PromptRow((ASK,), "a", "b", {})])
    first, second = read_rows([tmp_path / "rows.parquet"])
    assert first["chosen_turns"] == [CALL, ANSWER]
    assert second["chosen_turns"] is None


# Tokens


def _tokenizer(template: str = CHATML) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


STORED = {"row": 3, "prompt": [ASK], "chosen": "It is 5.", "chosen_turns": [CALL, ANSWER], "rejected": "no"}


def test_the_policys_turns_are_in_the_loss_with_their_ends_and_nothing_else() -> None:
    tokenizer = _tokenizer()
    ids = encode_side(tokenizer, STORED, "chosen")
    own = [token for token in ids if in_loss(token)]
    assert own == encode_response(tokenizer, "add(2, 3)") + encode_response(tokenizer, "It is 5.")
    others = tokenizer.decode([token_id(token) for token in ids if not in_loss(token)])
    assert "5" in others
    assert "<|tool|>" in others
    assert "add" not in others
    whole = tokenizer.apply_chat_template([ASK, CALL, ANSWER, END], tokenize=False)
    asked = encode_prompt(tokenizer, [ASK])
    read = tokenizer.decode([*asked, *map(token_id, ids)])
    assert read.removeprefix("<s>") == whole.removesuffix("\n")


def test_one_turn_is_encoded_as_ever() -> None:
    tokenizer = _tokenizer()
    assert encode_side(tokenizer, STORED, "rejected") == encode_response(tokenizer, "no")


TEMPLATES = {
    "a role that is left out": (
        "{% for m in messages %}{% if m['role'] != 'tool' %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
        r"row 3, chosen: turn 1 \(tool\) is not in the template's text",
    ),
    "earlier turns that are rewritten": (
        "{% for m in messages %}<|{{ m['role'] }}|>"
        "{{ m['content'] if loop.last or m['role'] != 'assistant' else 'cut' }}{{ eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
        r"row 3, chosen: turn 0 \(assistant\) is not in the template's text as it is",
    ),
}


@pytest.mark.parametrize("what", TEMPLATES)
def test_a_template_that_does_not_write_the_turns_is_refused(what: str) -> None:
    template, expected = TEMPLATES[what]
    with pytest.raises(InvalidInput, match=expected):
        check_turns(_tokenizer(template), STORED)


def test_a_template_that_trims_keeps_its_turns() -> None:
    trims = CHATML.replace("m['content']", "m['content'] | trim")
    row = {**STORED, "chosen_turns": [message("assistant", " add(2, 3) "), ANSWER]}
    assert [own for _, own in segments(_tokenizer(trims), row, "chosen")] == [True, False, True]


# The loss


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_tokens_outside_the_loss_contribute_exactly_nothing(tiny: Path, data: st.DataObject) -> None:
    """The sums are those of the tokens in the loss, one by one, with the others read before them."""
    tokens = st.lists(st.integers(5, 90), min_size=1, max_size=6)
    prompt = tuple(data.draw(tokens))

    def response() -> tuple[int, ...]:
        parts = data.draw(st.lists(tokens, min_size=1, max_size=4))
        return tuple(t for i, part in enumerate(parts) for t in (outside_loss(part) if i % 2 else part))

    chosen, rejected = response(), response()
    network = models.load(tiny, dtype=torch.float64, max_length=64)
    with torch.no_grad():
        batch = pack([Pair(0, prompt, chosen, rejected)], explored=False)
        found = batch.sums(network(batch))
        for masked, got, count in ((chosen, found.chosen, 0), (rejected, found.rejected, 1)):
            plain = tuple(map(token_id, masked))
            alone = pack([Pair(0, prompt, plain, plain)], explored=False)
            # one log-prob a token: each token of the response is a response of its own to `sum_by_response`
            single = replace(
                alone, response_of=torch.arange(len(plain)), lengths=torch.ones(len(plain), dtype=torch.int64)
            )
            each = network(single)
            own = torch.tensor([in_loss(token) for token in masked])
            torch.testing.assert_close(got[0], each[own].sum(), rtol=1e-12, atol=1e-12)
            assert int(batch.lengths[batch.chosen if count == 0 else batch.rejected][0]) == int(own.sum())


def test_what_a_tool_says_last_changes_no_sum_and_no_gradient(tiny: Path) -> None:
    prompt, own = (5, 6, 7), (8, 9)

    def gradients(response: tuple[int, ...]) -> list[torch.Tensor]:
        network = models.load(tiny, dtype=torch.float64, max_length=64)
        batch = pack([Pair(0, prompt, response, (10, 2))], explored=False)
        batch.sums(network(batch)).chosen.sum().backward()
        return [p.grad for p in network.parameters() if p.grad is not None]

    plain = gradients(own)
    for said in ((11, 12), (13,)):
        for a, b in zip(plain, gradients((*own, *outside_loss(said))), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    trained = gradients((*own, 11, 12))
    assert any(not torch.allclose(a, b) for a, b in zip(plain, trained, strict=True))


def test_a_response_without_a_token_in_the_loss_is_an_error() -> None:
    with pytest.raises(ValueError, match="no token in the loss"):
        pack([Pair(3, (1,), tuple(outside_loss((5, 6))), (7,))], explored=False)


def test_training_gets_the_masked_turns(tmp_path: Path) -> None:
    world = TrainWorld(tmp_path, pairs=4)
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [{**row, "chosen_turns": [CALL, ANSWER]} for row in pq.read_table(tmp_path / "rows.parquet").to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, PROMPTS), tmp_path / "rows.parquet")
    config = world.config(pairs="Offline", objective={"type": "DPO", "alpha": 0.0, "beta": 0.1}, maxLength=250)
    bring_pairs(world.phase_folder(config), tmp_path / "base", tmp_path / "pairs.parquet")
    pairs = PairTable(tmp_path / "pairs.parquet", explored=False)
    for row in rows:
        assert list(pairs[row["row"]].chosen) == encode_side(tokenizer, row, "chosen")
        assert any(not in_loss(token) for token in pairs[row["row"]].chosen)
        assert all(map(in_loss, pairs[row["row"]].rejected))


# Preparation


def test_turns_are_no_candidates() -> None:
    facts = DataFacts(portions=[20], held_out=3, has_pairs=True, held_out_has_pairs=True, format="MultiTurn")
    with pytest.raises(InvalidInput, match=r"spec\.scoring\.pairing\.offline: found Include, .*MultiTurn"):
        check_data(phase_config(iterations=1), facts)
    check_data(phase_config(iterations=1, scoring={"pairing": {"offline": "Exclude"}}), facts)
    check_data(phase_config(iterations=1, offlineIterations=[1]), facts)
