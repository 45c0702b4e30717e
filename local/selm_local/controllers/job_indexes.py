"""Sets of completion indexes in the form that `status.completedIndexes` has: "0-2,5,7,8"."""

from __future__ import annotations

from collections.abc import Iterable


def format_indexes(indexes: Iterable[int]) -> str:
    """Write a set of indexes the way the Job controller does: runs of three and more as `first-last`.

    >>> format_indexes({0, 1, 2, 5, 7, 8})
    '0-2,5,7,8'
    """
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(set(indexes)), None]:
        if run and (index is None or index != run[-1] + 1):
            parts.append(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)))
            run = []
        if index is not None:
            run.append(index)
    return ",".join(parts)


def parse_indexes(text: str | None, completions: int) -> set[int]:
    """Read such a set; indexes at or above `completions` (the Job was scaled down) are dropped.

    Raises ValueError where the text is not one.
    """
    found: set[int] = set()
    for part in (text or "").split(","):
        if not part:
            continue
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return {index for index in found if index < completions}
