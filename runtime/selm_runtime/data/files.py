"""Records out of local Parquet, JSONL, JSON and Arrow files, one at a time, and which files make up a split."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.errors import InvalidInput

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json")
"""Of files that are data by themselves. Arrow files are read where `Dataset.save_to_disk` wrote them."""
_BATCH_RECORDS = 256
_SAVED_MARK = "state.json"
"""What `save_to_disk` of the datasets library writes beside a split's Arrow files, and what names them."""

ReadFile = Callable[[str], bytes]
"""A small file's content, by its name."""


def split_files(names: Iterable[str], split: str, read: ReadFile) -> list[str]:
    """The files of a split among the names in a folder, in the split's order; empty where there is none.

    `<split>.parquet`, `<split>.jsonl`, `<split>.json`, or several `<split>-*` of one kind, also under `data/`; or the
    folder of a split as `DatasetDict.save_to_disk` writes it, whose mark `read` is asked for.
    """
    there = sorted(names)
    if saved := saved_files(there, read, f"{split}/"):
        return saved
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


def saved_files(names: Iterable[str], read: ReadFile, folder: str = "") -> list[str]:
    """The Arrow files of a dataset that `Dataset.save_to_disk` wrote into `folder`, in order; empty where it did not.

    Those that its mark names and no others: `map` and `filter` leave `cache-<fingerprint>.arrow` beside them. Raises
    InvalidInput where the mark names none, or one that is not there.
    """
    there = set(names)
    mark = f"{folder}{_SAVED_MARK}"
    if mark not in there:
        return []
    try:
        saved = [f"{folder}{file['filename']}" for file in json.loads(read(mark))["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            "InvalidData",
            f"spec.data.uri: {mark} does not name the dataset's files ({type(error).__name__}: {error}); allowed is what "
            "save_to_disk writes, with _data_files",
        ) from error
    missing = [name for name in saved if name not in there]
    if missing:
        raise InvalidInput("InvalidData", f"spec.data.uri: {mark} names {', '.join(missing[:5])}, which is not there")
    return saved


def read_records(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    """Every record of a file, in order; `shown` is what errors call the file: the field that names it, and its name.

    Parquet, Arrow and JSONL in bounded memory; a JSON array has its text in memory. Raises InvalidInput naming the line or
    record that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path, shown)
    elif suffix == ".arrow":
        yield from _arrow(path, shown)
    elif suffix in (".jsonl", ".gz") or not _is_array(path):
        yield from _lines(path, shown)
    else:
        yield from _array(path, shown)


def _parquet(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_RECORDS):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise InvalidInput("InvalidData", f"{shown} cannot be read as Parquet: {error}") from error


def _arrow(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    """An Arrow stream, as `save_to_disk` writes it: record batch by record batch."""
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                for start in range(0, len(batch), _BATCH_RECORDS):
                    yield from batch.slice(start, _BATCH_RECORDS).to_pylist()
    except pa.ArrowException as error:
        raise InvalidInput("InvalidData", f"{shown} cannot be read as Arrow: {error}") from error


def _lines(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _record(_parsed(line, f"{shown}, line {number}"), f"{shown}, line {number}")
    except (gzip.BadGzipFile, EOFError) as error:
        raise InvalidInput("InvalidData", f"{shown} cannot be read as gzip: {error}") from error


def _parsed(line: bytes, where: str) -> Any:
    try:
        value = json.loads(line)
        if b"\\u" in line:
            _require_text(value)
        return value
    except (ValueError, RecursionError) as error:
        raise InvalidInput("InvalidData", f"{where} is no JSON: {error}") from error


def _require_text(value: Any) -> None:
    """Raises ValueError where a string has half of a surrogate pair: JSON's escapes can say it, no text can hold it."""
    json.dumps(value, ensure_ascii=False).encode()


def _array(path: Path, shown: str) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("InvalidData", f"{shown} is no UTF-8 text: {error}") from error
    decoder = json.JSONDecoder()
    position, number = text.index("[") + 1, 0
    separators = re.compile(r"[\s,]*")
    while True:
        match = separators.match(text, position)
        position = match.end() if match else position
        if text[position : position + 1] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, position)
            if text.find("\\u", position, end) >= 0:
                _require_text(value)
            position = end
        except (ValueError, RecursionError) as error:
            raise InvalidInput("InvalidData", f"{shown}, record {number} is no JSON: {error}") from error
        yield _record(value, f"{shown}, record {number}")
        number += 1


def _is_array(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _record(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput("InvalidData", f"{where}: found {value!r:.60}, allowed is an object")
    return value
