"""Which pairs each optimizer step, rank and micro-batch holds: pure functions of ids, lengths and the seed.

The order is a function of (seed, iteration, epoch) over stable row ids alone, so that a resumed run, or one on another
number of ranks, sees the same pairs in the same steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

from selm_runtime.contract import TrainingConfig

Plan = list[list[list[int]]]
"""Of one optimizer step: [rank][micro-batch][row]."""


@dataclass(frozen=True)
class Schedule:
    """The steps of a whole Training phase: `steps[s]` holds the row ids of optimizer step s.

    `dropped` counts the pairs of last partial batches that no step of their epoch uses.
    """

    steps: tuple[tuple[int, ...], ...]
    dropped: int

    @property
    def pairs(self) -> int:
        """Pairs trained on, an epoch's repetition counted again."""
        return sum(len(step) for step in self.steps)

    @property
    def rows(self) -> list[int]:
        """Every row that some step uses, once, in ascending order."""
        return sorted({row for step in self.steps for row in step})


def epoch_order(rows: Sequence[int], *, seed: int, iteration: int, epoch: int) -> list[int]:
    """The rows in a pseudo-random order that depends on their ids alone, not on their places in the input.

    Sorted by SHA-256 of (seed, iteration, epoch, row): the same on every platform and library version, and the same
    relative order of the remaining rows when some are taken out.
    """

    def key(row: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{seed}:{iteration}:{epoch}:{row}".encode()).digest(), row

    return sorted(rows, key=key)


def own_in_batch(training: TrainingConfig) -> int:
    """Pairs of each batch that are the data's own: `offlineShare`, rounded, at least one of either kind."""
    if not training.offline_share or training.pairs == "Offline":
        return 0
    return min(training.batch_size - 1, max(1, round(training.offline_share * training.batch_size)))


def schedule(
    rows: Sequence[int],
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    iteration: int,
    own: Sequence[int] = (),
    own_in_batch: int = 0,
) -> Schedule:
    """Cut each epoch's order into optimizer steps of `batch_size` pairs; a last partial batch is dropped and counted.

    `rows` are distinct ids. With fewer rows than one batch takes there are no steps: the caller refuses that.
    `own_in_batch` pairs of each batch come from `own`, in an order of its own that begins again when it is through;
    an epoch is a pass over `rows`.
    """
    if len({*rows, *own}) != len(rows) + len(own):
        raise ValueError("row ids must be distinct")
    steps: list[tuple[int, ...]] = []
    each = batch_size - own_in_batch
    whole = len(rows) // each
    mixed_in = _in_passes(own, seed, iteration)
    for epoch in range(epochs):
        order = epoch_order(rows, seed=seed, iteration=iteration, epoch=epoch)
        steps += [(*order[i * each : (i + 1) * each], *islice(mixed_in, own_in_batch)) for i in range(whole)]
    return Schedule(tuple(steps), dropped=epochs * (len(rows) - whole * each))


def _in_passes(rows: Sequence[int], seed: int, iteration: int) -> Iterator[int]:
    """The rows without end, each pass in another order; nothing where there are none."""
    for number in count() if rows else ():
        yield from epoch_order(rows, seed=seed, iteration=iteration, epoch=number)


def split_ranks(rows: Sequence[int], tokens: Mapping[int, int], ranks: int) -> list[list[int]]:
    """Share rows over ranks: equally many each, as even in tokens as a greedy pass gets them.

    Longest first, each to the rank with the fewest tokens that still has room. Equal counts let every rank run the
    same number of micro-batches, which ZeRO-3 needs (its gathers are collective). `len(rows)` is a multiple of
    `ranks`. Deterministic: ties go to the lower row id and the lower rank.
    """
    if len(rows) % ranks:
        raise ValueError(f"{len(rows)} rows cannot be shared equally by {ranks} ranks")
    room = len(rows) // ranks
    shares: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for row in sorted(rows, key=lambda row: (-tokens[row], row)):
        rank = min((r for r in range(ranks) if len(shares[r]) < room), key=lambda r: (load[r], r))
        shares[rank].append(row)
        load[rank] += tokens[row]
    return shares


def micro_batches(shares: Sequence[Sequence[int]], tokens: Mapping[int, int], max_tokens: int) -> Plan:
    """Cut each rank's share into micro-batches of at most `max_tokens` tokens, equally many on every rank.

    Returns [rank][micro-batch][row]. A row longer than `max_tokens` makes a micro-batch of its own. A rank that could
    do with fewer takes as many as the one that needs most, evenly filled; none is ever empty.
    """
    most = max((len(_fill(share, tokens, max_tokens)) for share in shares), default=0)
    return [_spread(share, tokens, max_tokens, most) for share in shares]


def _fill(share: Sequence[int], tokens: Mapping[int, int], max_tokens: int) -> list[list[int]]:
    """First-fit decreasing: few micro-batches, the longest rows first."""
    bins: list[list[int]] = []
    load: list[int] = []
    for row in sorted(share, key=lambda row: (-tokens[row], row)):
        place = next((b for b in range(len(bins)) if load[b] + tokens[row] <= max_tokens), None)
        if place is None:
            bins.append([row])
            load.append(tokens[row])
        else:
            bins[place].append(row)
            load[place] += tokens[row]
    return bins


def _spread(share: Sequence[int], tokens: Mapping[int, int], max_tokens: int, count: int) -> list[list[int]]:
    """Exactly `count` micro-batches, no more tokens in any than `_fill` allowed."""
    bins = _fill(share, tokens, max_tokens)
    while len(bins) < count:
        fullest = max((b for b in bins if len(b) > 1), key=lambda b: sum(tokens[row] for row in b))
        bins.remove(fullest)
        bins += [fullest[::2], fullest[1::2]]
    return bins


def plan_step(rows: Sequence[int], tokens: Mapping[int, int], *, ranks: int, max_tokens: int) -> Plan:
    """Which rank runs which of the step's rows in which micro-batch."""
    return micro_batches(split_ranks(rows, tokens, ranks), tokens, max_tokens)


def largest_micro_batch(plans: Iterable[Plan], tokens: Mapping[int, int]) -> int:
    """Tokens of the largest micro-batch of all plans: what memory must suffice for."""
    return max(sum(tokens[row] for row in micro) for plan in plans for share in plan for micro in share)
