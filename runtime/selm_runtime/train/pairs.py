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
        pa.field("explored", pa.list_(pa.int32())),  # null where the objective does not act on it
    ]
)
"""What a pod's entry hands to its ranks, truncated already. Never leaves the pod."""


@dataclass(frozen=True)
class Pair:
    """One prompt with its chosen, rejected and (where the objective needs it) explored response, as token ids.

    `row` is the data's stable id. Responses end with EOS unless generation or truncation cut them.
    """

    row: int
    prompt: Tokens
    chosen: Tokens
    rejected: Tokens
    explored: Tokens | None = None

    @property
    def responses(self) -> tuple[Tokens, ...]:
        """The distinct responses: a sequence that appears twice is run once."""
        return tuple(dict.fromkeys(r for r in (self.chosen, self.rejected, self.explored) if r is not None))

    @property
    def tokens(self) -> int:
        """What the pair costs: its prompt once, and each distinct response."""
        return len(self.prompt) + sum(len(response) for response in self.responses)

    def without_explored(self) -> Pair:
        return replace(self, explored=None)


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

    Without the explored response where the objective has no use for it (`explored` false).
    """

    def __init__(self, path: Path, *, explored: bool) -> None:
        self._table = pq.read_table(path, schema=PAIR_TOKENS).combine_chunks()
        self._explored = explored
        self._places = {row: place for place, row in enumerate(self._table.column("row").to_pylist())}

    def __getitem__(self, row: int) -> Pair:
        place = self._places[row]
        explored = self._tokens("explored", place) if self._explored else None
        prompt, chosen, rejected = (self._tokens(name, place) for name in ("prompt", "chosen", "rejected"))
        if prompt is None or chosen is None or rejected is None:
            raise ValueError(f"row {row} lacks its prompt or a response")
        return Pair(row, prompt, chosen, rejected, explored)

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _tokens(self, name: str, place: int) -> Tokens | None:
        ids = self._table.column(name)[place].as_py()
        return None if ids is None else tuple(ids)
