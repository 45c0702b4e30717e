"""The preference pairs of one iteration as token ids, whatever they came from, and the file that ranks read them from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Tokens = tuple[int, ...]

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


def write_pairs(pairs: Iterable[Pair], path: Path) -> None:
    """Write the pairs for the ranks of this pod, in the order given."""
    columns: dict[str, list[object]] = {name: [] for name in PAIR_TOKENS.names}
    for pair in pairs:
        for name, values in columns.items():
            values.append(getattr(pair, name))
    pq.write_table(pa.table(columns, schema=PAIR_TOKENS), path)


def read_pairs(path: Path, *, explored: bool) -> dict[int, Pair]:
    """The pairs by row id, in the file's order; without the explored response where the objective has no use for it."""
    table = pq.read_table(path, schema=PAIR_TOKENS)
    pairs: dict[int, Pair] = {}
    for record in table.to_pylist():
        ids: Sequence[int] | None = record["explored"] if explored else None
        pairs[record["row"]] = Pair(
            row=record["row"],
            prompt=tuple(record["prompt"]),
            chosen=tuple(record["chosen"]),
            rejected=tuple(record["rejected"]),
            explored=None if ids is None else tuple(ids),
        )
    return pairs
