"""The reference's log-probabilities: computed once before the first step, stored by row id, looked up ever after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from selm_runtime.train.batches import Plan, plan_step
from selm_runtime.train.objectives import Sums
from selm_runtime.train.packing import AS_THEY_ARE, PackedBatch, PackSizes, pack
from selm_runtime.train.pairs import Pair
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.transfers import to_device

REFERENCE = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("chosen", pa.float32(), False),
        pa.field("rejected", pa.float32(), False),
        pa.field(
            "explored", pa.list_(pa.float32())
        ),  # in the pair's order; null where the objective does not act on them
    ]
)
"""Part of every checkpoint: summed log-probs in nats, independent of ranks and micro-batches."""


RowSums = tuple[float, float, tuple[float, ...] | None]
"""Of chosen, rejected and the explored responses, in nats."""


@dataclass(frozen=True)
class ReferenceTable:
    """Summed log-probs of the reference, by pair id; empty where the objective needs no reference."""

    sums: Mapping[int, RowSums]

    def of(self, rows: Sequence[int], device: torch.device) -> Sums:
        """The sums of a batch's rows in its order, [pairs] float32. Raises KeyError for a row that was never run."""
        found = [self.sums[row] for row in rows]
        explored = [values[2] for values in found]
        return Sums(
            chosen=_tensor([values[0] for values in found], device),
            rejected=_tensor([values[1] for values in found], device),
            explored=None
            if None in explored
            else _tensor([value for values in explored for value in values or ()], device),
        )

    def write(self, path: Path) -> None:
        """As Parquet, in row order: equal tables give equal bytes."""
        rows = sorted(self.sums)
        columns = list(zip(*(self.sums[row] for row in rows), strict=True)) or [(), (), ()]
        pq.write_table(pa.table([rows, *columns], schema=REFERENCE), path)

    @classmethod
    def read(cls, path: Path) -> ReferenceTable:
        table = pq.read_table(path, schema=REFERENCE)
        rows, chosen, rejected, explored = (table.column(name).to_pylist() for name in REFERENCE.names)
        several = (None if values is None else tuple(values) for values in explored)
        return cls(dict(zip(rows, zip(chosen, rejected, several, strict=True), strict=True)))


Between = Callable[[int, int, float, Callable[[], ReferenceTable]], None]
"""Given rows done, rows in all, tokens a second, and what answers the table so far on every rank: if one asks it, all do."""


def plan_of(rows: Sequence[int], tokens: Mapping[int, int], *, ranks: int, max_tokens: int) -> Plan:
    """Which rank runs which rows in which micro-batch.

    Equal counts on all ranks (ZeRO-3 gathers collectively): the shortest row may be run again to fill up.
    """
    shortest = min(rows, key=lambda row: (tokens[row], row))
    filled = [*rows, *[shortest] * (-len(rows) % ranks)]
    return plan_step(filled, tokens, ranks=ranks, max_tokens=max_tokens)


def compute(
    forward: Callable[[PackedBatch], Tensor],
    pairs: Mapping[int, Pair],
    rows: Sequence[int],
    *,
    explored: bool,
    max_tokens: int,
    ranks: Ranks,
    between: Between,
    sizes: PackSizes = AS_THEY_ARE,
    known: ReferenceTable | None = None,
) -> ReferenceTable:
    """Run the reference over `rows`, shared by all ranks; the whole table on every rank.

    `forward` answers summed log-probs [R] of a packed batch, without gradients. `between` is called by every rank alike
    after each round of micro-batches: it reports, and raises where the pod is to go. Rounds whose rows are all `known`
    from an attempt before are not run again; the others are what they would have been, to the bit.
    """
    plan = plan_of(rows, {row: pairs[row].tokens for row in rows}, ranks=ranks.size, max_tokens=max_tokens)
    kept = {} if known is None else dict(known.sums)
    own: dict[int, RowSums] = {}

    def so_far() -> ReferenceTable:
        whole = dict(kept)
        for part in ranks.gather(own):
            whole.update(part)
        return ReferenceTable(whole)

    started, seen_tokens = time.monotonic(), 0
    for index, micro in enumerate(plan[ranks.rank]):
        if all(row in kept for share in plan for row in share[index]):
            continue
        batch = pack([pairs[row] for row in micro], explored=explored).filled(sizes)
        with torch.no_grad():
            sums = batch.to(ranks.device).sums(forward(batch.to(ranks.device)))
        own.update(zip(batch.rows, _records(sums, batch.explored_of), strict=True))
        seen_tokens += batch.tokens - batch.tail
        done = sum(len(share[i]) for share in plan for i in range(index + 1))
        between(min(done, len(rows)), len(rows), seen_tokens * ranks.size / (time.monotonic() - started), so_far)
    return so_far()


def _records(sums: Sums, explored_of: Tensor | None) -> Iterator[RowSums]:
    chosen, rejected = sums.chosen.tolist(), sums.rejected.tolist()
    explored: list[tuple[float, ...] | None] = [None] * len(chosen)
    if sums.explored is not None:
        values = sums.explored.tolist()
        places = range(len(chosen)) if explored_of is None else explored_of.tolist()
        several: list[list[float]] = [[] for _ in chosen]
        for place, value in zip(places, values, strict=True):
            several[place].append(value)
        explored = [tuple(found) for found in several]
    return zip(chosen, rejected, explored, strict=True)


def _tensor(values: Sequence[float], device: torch.device) -> Tensor:
    return to_device(torch.tensor(values, dtype=torch.float32), device)
