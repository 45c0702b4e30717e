"""Statistics over held-out prompts: means with intervals, paired gains, win rates. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054
"""Two-sided 95 % point of the standard normal distribution."""


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its 95 % interval (normal approximation; n is the number of prompts)."""

    mean: float
    half_width: float
    n: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean ± 1.96 · s / √n, s the sample's standard deviation (n − 1). The half-width of a single value is 0.

    Raises ValueError for no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values to average")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, 0.0, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, Z95 * math.sqrt(variance / n), n)


def paired_gain(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """The mean difference on the same prompts, with the interval of the differences (narrower than of two means).

    Raises ValueError for unequal lengths.
    """
    return estimate([ours - theirs for ours, theirs in zip(values, baseline, strict=True)])


def win_rate(values: Sequence[float], opponent: Sequence[float]) -> float:
    """The share of prompts on which the first scores higher; a tie is half a win.

    Raises ValueError for unequal lengths or no prompts.
    """
    if not values:
        raise ValueError("no prompts to compare on")
    points = [
        1.0 if ours > theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in zip(values, opponent, strict=True)
    ]
    return math.fsum(points) / len(points)


def log_odds(rate: float, n: int) -> float:
    """log(rate / (1 − rate)) of a win rate over n prompts, the rate held within half a win of 0 and 1.

    Raises ValueError for a rate outside [0, 1] or n below 1.
    """
    if not 0.0 <= rate <= 1.0 or n < 1:
        raise ValueError(f"win rate {rate} over {n} prompts; a rate in [0, 1] over at least one prompt is allowed")
    edge = 1.0 / (2 * n)
    held = min(max(rate, edge), 1.0 - edge)
    return math.log(held / (1.0 - held))
