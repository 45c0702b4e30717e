"""Formats, files and rows of preference data; every error names row, field, what was found and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selm_runtime.contract import ColumnsConfig
from selm_runtime.data.files import read_records, split_files
from selm_runtime.data.formats import FieldError, detect_format, read_record
from selm_runtime.data.overlap import prompt_key
from selm_runtime.data.rows import PromptRow, copy_rows, held_out_rows, portion_ranges, write_rows
from selm_runtime.errors import InvalidInput
from selm_runtime.tables import PROMPTS

COLUMNS = ColumnsConfig()


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
ULTRA = {"prompt": "Hi", "chosen": [_user("Hi"), _assistant("yes")], "rejected": [_user("Hi"), _assistant("no")]}
MULTI = [SYSTEM, _user("Hi"), _assistant("Hello"), _user("More")]
HH = {"chosen": "\n\nHuman: Hi\n\nAssistant: yes", "rejected": "\n\nHuman: Hi\n\nAssistant: no"}
NECTAR = {
    "prompt": "\n\nHuman: Hi\n\nAssistant: ",
    "answers": [{"answer": "ok", "rank": 2.0}, {"answer": "yes", "rank": 1.0}, {"answer": "no", "rank": 3.0}],
}

GOOD: dict[str, tuple[str, dict[str, Any], ColumnsConfig, PromptRow]] = {
    "message lists that hold the prompt": ("UltraFeedback", ULTRA, COLUMNS, PromptRow((_user("Hi"),), "yes", "no", {})),
    "a system message and several turns are kept": (
        "UltraFeedback",
        {"chosen": [*MULTI, _assistant("yes")], "rejected": [*MULTI, _assistant("no")]},
        COLUMNS,
        PromptRow(tuple(MULTI), "yes", "no", {}),
    ),
    "plain responses beside a plain prompt": (
        "UltraFeedback",
        {"prompt": "Hi", "chosen": "yes", "rejected": "no"},
        COLUMNS,
        PromptRow((_user("Hi"),), "yes", "no", {}),
    ),
    "responses alone beside a prompt of several turns": (
        "UltraFeedback",
        {"prompt": MULTI, "chosen": [_assistant("yes")], "rejected": [_assistant("no")]},
        COLUMNS,
        PromptRow(tuple(MULTI), "yes", "no", {}),
    ),
    "an empty response is a response": (
        "UltraFeedback",
        {"prompt": "Hi", "chosen": "yes", "rejected": ""},
        COLUMNS,
        PromptRow((_user("Hi"),), "yes", "", {}),
    ),
    "columns by other names": (
        "UltraFeedback",
        {"question": "Hi", "good": "yes", "bad": "no"},
        ColumnsConfig(prompt="question", chosen="good", rejected="bad"),
        PromptRow((_user("Hi"),), "yes", "no", {}),
    ),
    "other scalar columns are kept as texts": (
        "UltraFeedback",
        {
            **ULTRA,
            "score_chosen": 8.5,
            "topic": "x",
            "n": 3,
            "ok": True,
            "none": None,
            "list": [1],
            "messages": [SYSTEM],
        },
        COLUMNS,
        PromptRow((_user("Hi"),), "yes", "no", {"score_chosen": "8.5", "topic": "x", "n": "3", "ok": "true"}),
    ),
    "a transcript": ("AnthropicHH", HH, COLUMNS, PromptRow((_user("Hi"),), "yes", "no", {})),
    "a transcript of several turns": (
        "AnthropicHH",
        {key: "\n\nHuman: A\n\nAssistant: B\nb" + text for key, text in HH.items()},
        COLUMNS,
        PromptRow((_user("A"), _assistant("B\nb"), _user("Hi")), "yes", "no", {}),
    ),
    "ranked answers": ("Nectar", NECTAR, COLUMNS, PromptRow((_user("Hi"),), "yes", "no", {})),
    "prompts alone": (
        "Prompts",
        {"prompt": "Hi", "topic": "x"},
        COLUMNS,
        PromptRow((_user("Hi"),), None, None, {"topic": "x"}),
    ),
    "prompts of several turns": ("Prompts", {"prompt": MULTI}, COLUMNS, PromptRow(tuple(MULTI), None, None, {})),
}


@pytest.mark.parametrize("what", GOOD)
def test_good_records(what: str) -> None:
    data_format, record, columns, row = GOOD[what]
    assert read_record(record, 0, data_format, columns, "split 'train'") == row


@pytest.mark.parametrize("what", [what for what, case in GOOD.items() if case[2] is COLUMNS and "prompt" in case[1]])
def test_auto_finds_the_format(what: str) -> None:
    data_format, record, columns, _ = GOOD[what]
    assert detect_format(record, columns) == data_format


def test_auto_finds_transcripts() -> None:
    assert detect_format(HH, COLUMNS) == "AnthropicHH"


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"text": "x"},
        {"chosen": "a"},
        {"prompt": "x", "chosen": "a"},
        {"prompt": "x", "chosen": "a", "rejected": None},
    ],
)
def test_auto_says_what_it_found_and_what_it_needs(record: dict[str, Any]) -> None:
    with pytest.raises(FieldError, match=r"found columns .* allowed is 'prompt', 'chosen' and 'rejected'") as caught:
        detect_format(record, COLUMNS)
    assert all(name in str(caught.value) for name in record)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no chosen": ("UltraFeedback", {"prompt": "Hi", "rejected": "no"}, r"field 'chosen': found no such column"),
    "a null": ("UltraFeedback", {**ULTRA, "rejected": None}, r"field 'rejected': found null"),
    "a number for a response": (
        "UltraFeedback",
        {**ULTRA, "chosen": 3},
        r"field 'chosen': found 3, allowed is a text or a list",
    ),
    "an empty list": ("UltraFeedback", {**ULTRA, "chosen": []}, r"field 'chosen': found \[\]"),
    "a message without content": (
        "UltraFeedback",
        {**ULTRA, "chosen": [_user("Hi"), {"role": "assistant"}]},
        r"field 'chosen\[1\]': found .*allowed is a text in 'content'",
    ),
    "a role that nobody knows": (
        "UltraFeedback",
        {**ULTRA, "chosen": [{"role": "gpt", "content": "x"}]},
        r"field 'chosen\[0\]': found .*'role' of system, user, assistant, tool",
    ),
    "a response that the user gives": (
        "UltraFeedback",
        {**ULTRA, "rejected": [_user("Hi")]},
        r"field 'rejected': found a last message of role 'user'",
    ),
    "two conversations": (
        "UltraFeedback",
        {**ULTRA, "rejected": [_user("Ho"), _assistant("no")]},
        r"field 'rejected': found another conversation before its response",
    ),
    "an empty prompt": (
        "UltraFeedback",
        {"prompt": " ", "chosen": "a", "rejected": "b"},
        r"field 'prompt': found an empty text",
    ),
    "no prompt anywhere": ("UltraFeedback", {"chosen": "a", "rejected": "b"}, r"field 'prompt': found no such column"),
    "text that is no transcript": ("AnthropicHH", {**HH, "chosen": "Hello"}, r"field 'chosen': found 'Hello'.*Human:"),
    "a transcript that the user ends": (
        "AnthropicHH",
        {**HH, "rejected": "\n\nHuman: Hi"},
        r"field 'rejected': found a transcript that ends with a Human turn",
    ),
    "transcripts that part early": (
        "AnthropicHH",
        {**HH, "rejected": "\n\nHuman: Ho\n\nAssistant: no"},
        r"field 'rejected': found another conversation",
    ),
    "one answer": ("Nectar", {**NECTAR, "answers": NECTAR["answers"][:1]}, r"field 'answers': .*at least two answers"),
    "an answer without rank": (
        "Nectar",
        {**NECTAR, "answers": [{"answer": "a", "rank": 1}, {"answer": "b"}]},
        r"field 'answers\[1\]': .*a number in 'rank'",
    ),
    "ranks that are all equal": (
        "Nectar",
        {**NECTAR, "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 1}]},
        r"field 'answers': found rank 1\.0 for all",
    ),
    "a prompt that the assistant ends": (
        "Prompts",
        {"prompt": [_user("Hi"), _assistant("x")]},
        r"ends with the assistant",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_records_name_row_field_and_columns(what: str) -> None:
    data_format, record, message = BAD[what]
    with pytest.raises(InvalidInput, match=message) as caught:
        read_record(record, 17, data_format, COLUMNS, "split 'train'")
    assert caught.value.message.startswith(f"spec.data: row 17 of split 'train' (format {data_format}): ")
    assert f"the row has columns {', '.join(record)}" in caught.value.message
    assert len(caught.value.message) < 600


# Files


STATE = json.dumps({"_data_files": [{"filename": f"data-{n}.arrow"} for n in range(2)]}).encode()

SPLITS: dict[str, tuple[list[str], list[str]]] = {
    "one Parquet file": (["test.parquet", "train.parquet"], ["train.parquet"]),
    "one JSONL file": (["train.jsonl"], ["train.jsonl"]),
    "one JSON file": (["train.json"], ["train.json"]),
    "several parts, in order": (
        ["train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "train_prefs-0.parquet"],
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
    ),
    "under data/": (["README.md", "data/train-0.parquet", "data/test-0.parquet"], ["data/train-0.parquet"]),
    "Parquet before JSONL": (["train.jsonl", "data/train-0.parquet"], ["data/train-0.parquet"]),
    "a saved dataset's folder before all": (
        ["dataset_dict.json", "train.jsonl", "train/data-1.arrow", "train/data-0.arrow", "train/state.json"],
        ["train/data-0.arrow", "train/data-1.arrow"],
    ),
    "of a saved dataset what its mark names, not what map left beside": (
        ["train/cache-0a1b.arrow", "train/data-0.arrow", "train/data-1.arrow", "train/state.json"],
        ["train/data-0.arrow", "train/data-1.arrow"],
    ),
    "Arrow files that nobody saved": (["train/data-0.arrow"], []),
    "packed lines": (["train.jsonl.gz"], ["train.jsonl.gz"]),
    "nothing of another split": (["test.parquet", "training.parquet", "deep/train.parquet"], []),
}


@pytest.mark.parametrize("what", SPLITS)
def test_the_files_of_a_split(what: str) -> None:
    there, files = SPLITS[what]
    assert split_files(there, "train", lambda _: STATE) == files


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b"{}", r"train/state\.json does not name the dataset's files \(KeyError: '_data_files'\)"),
        (b"[", r"train/state\.json does not name the dataset's files \(JSONDecodeError"),
        (STATE, r"train/state\.json names train/data-1\.arrow, which is not there"),
    ],
)
def test_a_saved_dataset_that_is_not_whole_is_refused(state: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        split_files(["train/state.json", "train/data-0.arrow"], "train", lambda _: state)


RECORDS = [{"a": 1, "b": ["x", "ü"]}, {"a": 2, "b": []}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", "\n".join(json.dumps(record) for record in RECORDS) + "\n\n"),
        ("x.json", json.dumps(RECORDS, indent=1)),
        ("x.json", " \n" + json.dumps(RECORDS)),
        ("x.json", "\n".join(json.dumps(record) for record in RECORDS)),
    ],
)
def test_records_of_json(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert list(read_records(tmp_path / name, name)) == RECORDS


def test_records_of_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(RECORDS * 300), tmp_path / "x.parquet")
    assert list(read_records(tmp_path / "x.parquet", "x.parquet")) == RECORDS * 300


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", '{"a": 1}\n{"a"', "x.jsonl, line 2 is no JSON"),
        ("x.jsonl", '{"a": 1}\n[1]', "x.jsonl, line 2: found .*allowed is an object"),
        ("x.json", '[{"a": "\udcff"}]', "x.json is no UTF-8 text"),
        ("x.json", '[{"a": 1}, {"b"', "x.json, record 1 is no JSON"),
        (
            "x.jsonl",
            '{"a": "\\ud83d\\ude00"}\n{"a": "\\ud83d"}',
            "x.jsonl, line 2 is no JSON: .*surrogates not allowed",
        ),
        (
            "x.json",
            '[{"a": "\\ud83d\\ude00"}, {"a": "\\ud83d"}]',
            "x.json, record 1 is no JSON: .*surrogates not allowed",
        ),
        ("x.jsonl", '{"a": ' + "[" * 100_000, "x.jsonl, line 1 is no JSON: .*recursion"),
        ("x.json", "[3]", "x.json, record 0: found 3, allowed is an object"),
        ("x.parquet", "PAR1 not", "x.parquet cannot be read as Parquet"),
        ("x.arrow", "no Arrow", "x.arrow cannot be read as Arrow"),
        ("x.jsonl.gz", "no gzip", "x.jsonl.gz cannot be read as gzip"),
    ],
)
def test_files_that_cannot_be_read_say_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InvalidInput, match=message):
        list(read_records(tmp_path / name, name))


# Overlap


@given(st.lists(st.sampled_from(["user", "assistant", "tool"]), min_size=1, max_size=4), st.data())
def test_a_prompts_key_is_its_words(roles: list[str], data: st.DataObject) -> None:
    words = data.draw(st.lists(st.lists(st.sampled_from("abß"), min_size=1), min_size=len(roles), max_size=len(roles)))
    one = [{"role": role, "content": " ".join(text)} for role, text in zip(roles, words, strict=True)]
    other = [
        {"role": role, "content": f" {'  '.join(text).upper()}\n"} for role, text in zip(roles, words, strict=True)
    ]
    assert prompt_key(one) == prompt_key([SYSTEM, *other])
    assert prompt_key(one) != prompt_key([*one, _user("more")])
    assert prompt_key(one) != prompt_key([{**one[0], "content": f"{one[0]['content']} x"}, *one[1:]])


# Rows


@pytest.mark.parametrize(("rows", "held_out"), [(0, 0), (9, 0), (10, 1), (4999, 499), (5000, 500), (61_135, 500)])
def test_held_out_are_the_last_500_at_most_a_tenth(rows: int, held_out: int) -> None:
    assert held_out_rows(rows) == held_out


@pytest.mark.parametrize(("rows", "portions"), [(10, 1), (10, 3), (61_135, 4), (3, 5), (0, 2)])
def test_portions_are_contiguous_and_drop_nothing(rows: int, portions: int) -> None:
    ranges = portion_ranges(rows, portions)
    assert len(ranges) == portions
    assert [row for portion in ranges for row in portion] == list(range(rows))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


def test_rows_are_written_numbered_and_cut(tmp_path: Path) -> None:
    rows = [PromptRow((_user(f"{n}"),), f"c{n}", None if n == 3 else "r", {"n": str(n), "a": "x"}) for n in range(2500)]
    assert write_rows(tmp_path / "all.parquet", iter(rows), first=100) == 2500
    copy_rows(tmp_path / "all.parquet", range(1000, 2100), tmp_path / "cut.parquet")
    table = pq.read_table(tmp_path / "cut.parquet")
    assert table.schema.equals(PROMPTS)
    assert table["row"].to_pylist() == list(range(1100, 2200))
    first = table.slice(0, 1).to_pylist()[0]
    assert first["prompt"] == [_user("1000")]
    assert dict(first["columns"]) == {"n": "1000", "a": "x"}


def test_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    assert write_rows(tmp_path / "none.parquet", iter([])) == 0
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0
