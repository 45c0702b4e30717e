"""How the rows of an iteration are cut into chunks, the unit of commit, and who does which."""

from __future__ import annotations

SMALLEST_CHUNK = 8
LARGEST_CHUNK = 256
CHUNKS_AIMED_AT = 32


def chunk_ranges(rows: int) -> list[range]:
    """Cut `rows` into contiguous ranges of clamp(ceil(rows / 32), 8, 256) rows; the last may be shorter.

    Depends on the number of rows alone, so that any number of shards, in any attempt, means the same chunks.
    """
    if rows < 0:
        raise ValueError(f"rows must be at least 0, found {rows}")
    size = min(max(-(-rows // CHUNKS_AIMED_AT), SMALLEST_CHUNK), LARGEST_CHUNK)
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


def chunks_of_shard(total: int, index: int, shards: int) -> list[int]:
    """The chunks of shard `index` of `shards`: those congruent to it, so that none is dropped or done twice."""
    if not 0 <= index < shards:
        raise ValueError(f"the shard index must be within 0..{shards - 1}, found {index}")
    return list(range(index, total, shards))
