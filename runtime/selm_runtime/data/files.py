"""Records out of local Parquet, JSONL and JSON files, one at a time, and which files make up a split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.errors import InvalidInput

SUFFIXES = (".parquet", ".jsonl", ".json")
_BATCH_RECORDS = 256


def split_files(names: Iterable[str], split: str) -> list[str]:
    """The files of a split among the names in a folder, in the split's order; empty where there is none.

    `<split>.parquet`, `<split>.jsonl`, `<split>.json`, or several `<split>-*` of one kind, also under `data/`.
    """
    there = sorted(names)
    for suffix in SUFFIXES:
        for folder in ("", "data/"):
            whole = f"{folder}{split}{suffix}"
            if whole in there:
                return [whole]
            parts = [
                name for name in there if re.fullmatch(rf"{re.escape(folder + split)}-[^/]*{re.escape(suffix)}", name)
            ]
            if parts:
                return parts
    return []


def read_records(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    """Every record of a file, in order; `shown` is what errors call the file.

    Parquet and JSONL in bounded memory; a JSON array has its text in memory. Raises InvalidInput naming the line or
    record that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path, shown)
    elif suffix == ".jsonl" or not _is_array(path):
        yield from _lines(path, shown)
    else:
        yield from _array(path, shown)


def _parquet(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_RECORDS):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise InvalidInput("InvalidData", f"spec.data.uri: {shown} cannot be read as Parquet: {error}") from error


def _lines(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    yield _record(json.loads(line), f"{shown}, line {number}")
                except ValueError as error:
                    raise InvalidInput(
                        "InvalidData", f"spec.data.uri: {shown}, line {number} is no JSON: {error}"
                    ) from error


def _array(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    decoder, text = json.JSONDecoder(), path.read_text(encoding="utf-8")
    position, number = text.index("[") + 1, 0
    separators = re.compile(r"[\s,]*")
    while True:
        match = separators.match(text, position)
        position = match.end() if match else position
        if text[position : position + 1] == "]":
            return
        try:
            value, position = decoder.raw_decode(text, position)
        except ValueError as error:
            raise InvalidInput("InvalidData", f"spec.data.uri: {shown}, record {number} is no JSON: {error}") from error
        yield _record(value, f"{shown}, record {number}")
        number += 1


def _is_array(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _record(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput("InvalidData", f"spec.data.uri: {where}: found {value!r:.60}, allowed is an object")
    return value
