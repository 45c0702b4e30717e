"""Statistics over held-out prompts: means with intervals, paired gains, win rates, straight lines. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
"""Two-sided 95 % point of the standard normal distribution."""


RESAMPLES = 2000
"""Of a bootstrap: enough for two digits of a 95 % interval's ends."""
BOOTSTRAP_SEED = 0
"""Fixed: the same scores always give the same interval, so that an evaluation done again commits the same figures."""


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


def win_points(values: Sequence[float], opponent: Sequence[float]) -> list[float]:
    """A prompt: 1 where the first scores higher, 0.5 for a tie, else 0.

    Raises ValueError for unequal lengths or no prompts.
    """
    if not values:
        raise ValueError("no prompts to compare on")
    return [
        1.0 if ours > theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in zip(values, opponent, strict=True)
    ]


@dataclass(frozen=True)
class WinRate:
    """The share of prompts won, a tie half, with its 95 % bootstrap interval over n prompts."""

    rate: float
    low: float
    high: float
    n: int


EVEN = WinRate(0.5, 0.5, 0.5, 0)
"""Of a policy against itself: by definition, not by count."""


def win_rate(values: Sequence[float], opponent: Sequence[float]) -> WinRate:
    """How often the first scores higher on the same prompt.

    The interval is the bootstrap's percentile interval: prompts are drawn with both their responses, so that it is
    paired. Raises ValueError for unequal lengths or no prompts.
    """
    points = win_points(values, opponent)
    low, high = bootstrap_interval(points)
    return WinRate(math.fsum(points) / len(points), low, high, len(points))


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of the mean of as many draws with replacement (percentile bootstrap).

    Draws are counted by distinct value, which is the same distribution and takes memory by their number alone. Raises
    ValueError for no values.
    """
    if not values:
        raise ValueError("no values to draw from")
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    draws = np.random.default_rng(BOOTSTRAP_SEED).multinomial(len(values), counts / len(values), size=RESAMPLES)
    low, high = np.percentile(draws @ distinct / len(values), (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Line:
    """The least-squares line of y over x, and their linear (Pearson) correlation."""

    slope: float
    intercept: float
    correlation: float


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """None where x or y is the same everywhere, or for fewer than three points: then nothing can be said.

    Raises ValueError for unequal lengths.
    """
    pairs = list(zip(x, y, strict=True))
    if len(pairs) < 3:
        return None
    mean_x, mean_y = math.fsum(x) / len(pairs), math.fsum(y) / len(pairs)
    xx = math.fsum((a - mean_x) ** 2 for a in x)
    yy = math.fsum((b - mean_y) ** 2 for b in y)
    xy = math.fsum((a - mean_x) * (b - mean_y) for a, b in pairs)
    if not xx or not yy:
        return None
    slope = xy / xx
    return Line(slope, mean_y - slope * mean_x, max(-1.0, min(1.0, xy / math.sqrt(xx * yy))))


def log_odds(rate: float, n: int) -> float:
    """log(rate / (1 − rate)) of a win rate over n prompts, the rate held within half a win of 0 and 1.

    Raises ValueError for a rate outside [0, 1] or n below 1.
    """
    if not 0.0 <= rate <= 1.0 or n < 1:
        raise ValueError(f"win rate {rate} over {n} prompts; a rate in [0, 1] over at least one prompt is allowed")
    edge = 1.0 / (2 * n)
    held = min(max(rate, edge), 1.0 - edge)
    return math.log(held / (1.0 - held))
