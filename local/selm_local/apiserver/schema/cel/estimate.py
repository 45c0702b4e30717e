"""Ranges of sizes and costs, in 64-bit unsigned numbers that stop at the greatest instead of overflowing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

UNKNOWN_MAX: Final = 2**64 - 1


def _clip(value: int) -> int:
    return min(value, UNKNOWN_MAX)


@dataclass(frozen=True, slots=True)
class Range:
    """Least and most of a size (characters, items, entries) or of a cost (CEL cost units)."""

    low: int
    high: int

    def __add__(self, other: Range) -> Range:
        return Range(_clip(self.low + other.low), _clip(self.high + other.high))

    def __mul__(self, other: Range) -> Range:
        return Range(_clip(self.low * other.low), _clip(self.high * other.high))

    def scaled(self, factor: float) -> Range:
        """Each bound times `factor`, rounded up."""
        return Range(_scale(self.low, factor), _scale(self.high, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))


def _scale(value: int, factor: float) -> int:
    scaled = value * factor
    return UNKNOWN_MAX if scaled >= 2.0**64 else math.ceil(scaled)


def fixed(value: int) -> Range:
    return Range(value, value)


ZERO: Final = fixed(0)
ONE: Final = fixed(1)
UNKNOWN: Final = Range(0, UNKNOWN_MAX)
EMPTY_UNION: Final = Range(UNKNOWN_MAX, 0)
"""The neutral element of `union`."""
