"""The preference pairs of one iteration as token ids, whatever they came from, and the file that ranks read them from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Tokens = tuple[int, ...]
BATCH_ROWS = 1024

PAIR_TOKENS = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("prompt", pa.list_(pa.int32()), False),
        pa.field("chosen", pa.list_(pa.int32()), False),
        pa.field("rejected", pa.list_(pa.int32()), False),
        pa.field("explored", pa.list_(pa.list_(pa.int32())), False),  # empty where the objective does not act on them
        pa.field("chosen_score", pa.float64()),  # null for the data's own pairs
        pa.field("rejected_score", pa.float64()),
        pa.field("age", pa.int32(), False),
        pa.field("online", pa.bool_(), False),
    ]
)
"""What a pod's entry hands to its ranks, truncated already; ids of responses as `Pair` has them. Never leaves the pod."""

ROW_BITS = 40
"""Rows of the data that ids have room for."""


_OWN, _REVERSED, _MADE_IN = ROW_BITS, ROW_BITS + 1, ROW_BITS + 2


def pair_id(row: int, *, made_in: int = 0, own: bool = False) -> int:
    """An id that is unique among all pairs of a training, and stable: order, reference and anchor go by it.

    `made_in`: the earlier iteration that made the pair, 0 for the one at work; `own`: the data's own pair beside the
    iteration's. The plain pairs of an iteration have their row's number. Raises ValueError for a row that does not fit.
    """
    if not 0 <= row < 1 << ROW_BITS:
        raise ValueError(f"row {row} does not fit into {ROW_BITS} bits")
    return row | own << _OWN | made_in << _MADE_IN


def reversed_id(identifier: int) -> int:
    """The id of a pair's second, reversed copy."""
    return identifier | 1 << _REVERSED


def row_of(identifier: int) -> int:
    """The data's row that a pair is about."""
    return identifier & ((1 << ROW_BITS) - 1)


def is_own(identifier: int) -> bool:
    """Whether it is a pair of the data's own beside the iteration's (`offlineShare`)."""
    return bool(identifier >> _OWN & 1)


@dataclass(frozen=True)
class Pair:
    """One prompt with its chosen, rejected and (where the objective needs them) explored responses, as token ids.

    A response's tokens that are outside of the loss (`data.turns`) stand there as their complement, `~id`. `row` is the pair's stable id (`pair_id`). Responses end with EOS unless generation or truncation cut them. Of the
    data's own pairs (`online` false) nothing was explored. `age`: iterations since the pair was made.
    """

    row: int
    prompt: Tokens
    chosen: Tokens
    rejected: Tokens
    explored: tuple[Tokens, ...] = ()
    chosen_score: float | None = None
    rejected_score: float | None = None
    age: int = 0
    online: bool = True

    @property
    def responses(self) -> tuple[Tokens, ...]:
        """The distinct responses: a sequence that appears twice is run once."""
        return tuple(dict.fromkeys((self.chosen, self.rejected, *self.explored)))

    @property
    def tokens(self) -> int:
        """What the pair costs: its prompt once, and each distinct response."""
        return len(self.prompt) + sum(len(response) for response in self.responses)

    def without_explored(self) -> Pair:
        return replace(self, explored=())


def write_pairs(pairs: Iterable[Pair], path: Path) -> int:
    """Write the pairs for the ranks of this pod, in the order given and in bounded memory; returns how many."""
    count = 0
    remaining = iter(pairs)
    with pq.ParquetWriter(path, PAIR_TOKENS) as writer:
        while batch := list(islice(remaining, BATCH_ROWS)):
            columns = {name: [getattr(pair, name) for pair in batch] for name in PAIR_TOKENS.names}
            writer.write_table(pa.table(columns, schema=PAIR_TOKENS))
            count += len(batch)
    return count


class PairTable(Mapping[int, Pair]):
    """The pairs of a file by row id, in its order. Held as a table, four bytes a token; a Pair is made when asked for.

    Without the explored responses where the objective has no use for them (`explored` false).
    """

    def __init__(self, path: Path, *, explored: bool) -> None:
        self._table = pq.read_table(path, schema=PAIR_TOKENS).combine_chunks()
        self._explored = explored
        self._places = {row: place for place, row in enumerate(self._table.column("row").to_pylist())}

    def __getitem__(self, row: int) -> Pair:
        record = self._table.slice(self._places[row], 1).to_pylist()[0]
        explored = record["explored"] if self._explored else ()
        return Pair(
            row=row,
            prompt=tuple(record["prompt"]),
            chosen=tuple(record["chosen"]),
            rejected=tuple(record["rejected"]),
            explored=tuple(tuple(ids) for ids in explored),
            chosen_score=record["chosen_score"],
            rejected_score=record["rejected_score"],
            age=record["age"],
            online=record["online"],
        )

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
