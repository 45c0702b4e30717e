"""Rows of the PROMPTS schema: how they are cut into portions and held-out rows, written and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.artifacts.commit import PhaseFolder, portion_name
from selm_runtime.contract import Phase
from selm_runtime.inputs import HELD_OUT
from selm_runtime.tables import PROMPTS

MOST_HELD_OUT = 500
HELD_OUT_SHARE = 10
"""Without rows given: the split's last 500, at most a tenth."""
BATCH_ROWS = 1024


@dataclass(frozen=True)
class PromptRow:
    """One row of the data in the form that every phase reads; `chosen` and `rejected` both or neither."""

    prompt: tuple[dict[str, str], ...]
    chosen: str | None
    rejected: str | None
    columns: dict[str, str]
    chosen_turns: tuple[dict[str, str], ...] = ()
    """Of a response of several turns what comes before its last text, `chosen`; empty for one turn."""
    rejected_turns: tuple[dict[str, str], ...] = ()


def held_out_rows(rows: int) -> int:
    """How many of a split's last rows are held out where none are given."""
    return min(MOST_HELD_OUT, rows // HELD_OUT_SHARE)


def portion_ranges(rows: int, portions: int) -> list[range]:
    """Contiguous portions in the data's order, none dropped, sizes that differ by at most one."""
    bounds = [rows * i // portions for i in range(portions + 1)]
    return [range(start, end) for start, end in pairwise(bounds)]


def portion_rows(folder: PhaseFolder, iteration: int | None = None) -> list[dict[str, Any]]:
    """An iteration's rows (the config's if none is named), as PROMPTS says (`columns` as a list of pairs)."""
    rows: list[dict[str, Any]] = folder.read_table(
        folder.manifest(Phase.PREPARATION, 0), portion_name(folder.config, iteration)
    ).to_pylist()
    return rows


def held_out_rows_of(folder: PhaseFolder) -> list[dict[str, Any]]:
    """The held-out rows, as PROMPTS says (`columns` as a list of pairs)."""
    rows: list[dict[str, Any]] = folder.read_table(folder.manifest(Phase.PREPARATION, 0), HELD_OUT).to_pylist()
    return rows


def write_rows(path: Path, rows: Iterable[PromptRow], first: int = 0) -> int:
    """Write rows numbered from `first` as Parquet in bounded memory; returns how many."""
    count = 0
    with pq.ParquetWriter(path, PROMPTS) as writer:
        for batch in _batches(rows):
            writer.write_table(_table(batch, first + count))
            count += len(batch)
    return count


def copy_rows(source: Path, rows: range, target: Path) -> None:
    """Write some rows of one Parquet file to another, numbers kept, in bounded memory."""
    position = 0
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, PROMPTS) as writer:
        for batch in file.iter_batches(BATCH_ROWS):
            start, end = max(rows.start - position, 0), min(rows.stop - position, len(batch))
            if start < end:
                writer.write_batch(batch.slice(start, end - start))
            position += len(batch)


def copy_where(source: Path, keep: Callable[[int, pa.RecordBatch], Sequence[bool]], target: Path) -> None:
    """Write the rows of a file of PROMPTS that are to be kept to another, numbers kept, in bounded memory.

    `keep` says of a batch, whose first row is at that place of the file, which of its rows those are.
    """
    position = 0
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, PROMPTS) as writer:
        for batch in file.iter_batches(BATCH_ROWS):
            writer.write_batch(batch.filter(pa.array(keep(position, batch), pa.bool_())))
            position += len(batch)


def read_rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The rows of some files, one after the other in bounded memory (`columns` as a list of pairs)."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from batch.to_pylist()


def common_columns(paths: Iterable[Path]) -> frozenset[str]:
    """The columns beside prompt and pair that every row of some files has, read in bounded memory."""
    common: frozenset[str] | None = None
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["columns"]):
                for pairs in batch.column(0).to_pylist():
                    names = frozenset(name for name, _ in pairs)
                    common = names if common is None else common & names
    return common or frozenset()


def _table(rows: Sequence[PromptRow], first: int) -> pa.Table:
    return pa.table(
        {
            "row": list(range(first, first + len(rows))),
            "prompt": [list(row.prompt) for row in rows],
            "chosen": [row.chosen for row in rows],
            "rejected": [row.rejected for row in rows],
            "chosen_turns": [list(row.chosen_turns) or None for row in rows],
            "rejected_turns": [list(row.rejected_turns) or None for row in rows],
            "columns": [sorted(row.columns.items()) for row in rows],
        },
        schema=PROMPTS,
    )


def _batches(rows: Iterable[PromptRow]) -> Iterator[list[PromptRow]]:
    batch: list[PromptRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
