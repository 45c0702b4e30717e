"""A process that trains by itself: what `train.ranks.Ranks` says where there is one rank, without a process group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Alone:
    """The only rank."""

    rank = 0
    size = local_size = 1
    is_first = is_first_of_node = True

    def most(self, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values]

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def from_first(self, value: Any) -> Any:
        return value

    def barrier(self) -> None:
        """Nobody else is to come."""
