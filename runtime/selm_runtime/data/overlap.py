"""Prompts that are in the training rows and in what is evaluated on: found by their words, left out of training.

A model that was trained on the prompts that it is measured by is measured too well. What counts are the words of the
conversation without its system messages: two spellings of one question, by case, blanks or Unicode form, are one.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.data.rows import BATCH_ROWS, copy_where


def prompt_key(messages: Sequence[Mapping[str, str]]) -> bytes:
    """Equal for conversations of equal words and roles: NFKC, lower case, blanks as one, no system messages."""
    digest = hashlib.sha256()
    for message in messages:
        if message["role"] != "system":
            digest.update(f"{message['role']}\0{plain_words(message['content'])}\0".encode())
    return digest.digest()


def plain_words(text: str) -> str:
    """NFKC, lower case, blanks as one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def keys_of(path: Path) -> frozenset[bytes]:
    """The keys of a file of rows, read in bounded memory."""
    return frozenset(prompt_key(prompt) for batch in _prompts(path) for prompt in batch)


@dataclass(frozen=True)
class Overlap:
    """How many rows were left out of training."""

    rows: int
    by_set: Mapping[str, int]
    """Of each set that is evaluated on; a row whose prompt is in several counts in each."""


def copy_without(source: Path, rows: int, evaluated: Mapping[str, frozenset[bytes]], target: Path) -> Overlap:
    """Write the first `rows` rows of a file but those whose prompt is evaluated on, numbers kept.

    `evaluated`: the keys of the prompts of each set, by its name.
    """
    left_out = 0
    by_set = dict.fromkeys(evaluated, 0)

    def keep(first: int, batch: pa.RecordBatch) -> list[bool]:
        nonlocal left_out
        part = batch.slice(0, max(0, rows - first))
        keys = [prompt_key(prompt) for prompt in part.column("prompt").to_pylist()]
        kept = [not any(key in its for its in evaluated.values()) for key in keys]
        left_out += len(kept) - sum(kept)
        for name, its in evaluated.items():
            by_set[name] += sum(key in its for key in keys)
        return [*kept, *[False] * (len(batch) - len(part))]

    copy_where(source, keep, target)
    return Overlap(left_out, by_set)


def _prompts(path: Path) -> Iterable[list[Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=["prompt"]):
            yield batch.column(0).to_pylist()
