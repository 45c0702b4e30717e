"""Prompts that are in the training rows and in what is evaluated on: found by their words, left out of training.

A model that was trained on the prompts that it is measured by is measured too well. What counts are the words of the
conversation without its system messages: two spellings of one question, by case, blanks or Unicode form, are one.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.data.rows import BATCH_ROWS
from selm_runtime.tables import PROMPTS


def prompt_key(messages: Sequence[Mapping[str, str]]) -> bytes:
    """Equal for conversations of equal words and roles: NFKC, lower case, blanks as one, no system messages."""
    digest = hashlib.sha256()
    for message in messages:
        if message["role"] != "system":
            words = " ".join(unicodedata.normalize("NFKC", message["content"]).casefold().split())
            digest.update(f"{message['role']}\0{words}\0".encode())
    return digest.digest()


def keys_of(path: Path) -> frozenset[bytes]:
    """The keys of a file of rows, read in bounded memory."""
    return frozenset(prompt_key(prompt) for batch in _prompts(path) for prompt in batch)


def copy_without(source: Path, rows: int, evaluated: frozenset[bytes], target: Path) -> int:
    """Write the first `rows` rows of a file but those whose prompt is evaluated on, numbers kept; returns how many
    were left out.
    """
    position = left_out = 0
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, PROMPTS) as writer:
        for batch in file.iter_batches(BATCH_ROWS):
            part = batch.slice(0, max(0, rows - position))
            kept = [prompt_key(prompt) not in evaluated for prompt in part.column("prompt").to_pylist()]
            writer.write_batch(part.filter(pa.array(kept, pa.bool_())))
            left_out += len(kept) - sum(kept)
            position += len(batch)
    return left_out


def _prompts(path: Path) -> Iterable[list[Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=["prompt"]):
            yield batch.column(0).to_pylist()
