"""Running mean and deviation of what an objective observes, over whole optimizer steps.

Computed over all ranks' pairs of a step, so that neither ranks nor micro-batches matter, and smoothed over the steps so
far. The past is read from the steps' metrics: those are in every checkpoint, so there is nothing else to resume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from selm_runtime.train.objectives import Running
from selm_runtime.train.ranks import Ranks

DECAY = 0.9
"""Weight of a step against the next (alpha-DPO's code)."""
STEPS = 256
"""Steps that count: the older ones weigh less than 1e-11 together."""
MEAN, DEVIATION = "observedMean", "observedDeviation"
"""A step's own figures in its metrics."""


@dataclass(frozen=True)
class Observed:
    """The smoothed figures for the loss, and the step's own for its metrics."""

    figures: Running
    metrics: Mapping[str, float]


def observe(values: Tensor, history: Sequence[Mapping[str, float]], ranks: Ranks) -> Observed:
    """From this rank's values [pairs] of a step and the metrics of the steps before; equal on all ranks.

    The deviation is the unbiased one, 0 for a single pair. Every rank calls it.
    """
    own = values.double()
    total, count = ranks.total([float(own.sum()), float(own.numel())])
    mean = total / count
    (squares,) = ranks.total([float((own - mean).square().sum())])
    deviation = (squares / (count - 1.0)) ** 0.5 if count > 1 else 0.0
    return Observed(smoothed(history, mean, deviation), {MEAN: mean, DEVIATION: deviation})


def smoothed(history: Sequence[Mapping[str, float]], mean: float, deviation: float) -> Running:
    """The exponentially weighted mean of the figures up to and with the present step, corrected for its beginning."""
    weight = total = mean_sum = deviation_sum = 0.0
    weight = 1.0
    for its_mean, its_deviation in [(mean, deviation)] + [
        (step[MEAN], step[DEVIATION]) for step in reversed(history[-STEPS:])
    ]:
        total += weight
        mean_sum += weight * its_mean
        deviation_sum += weight * its_deviation
        weight *= DECAY
    return Running(mean_sum / total, deviation_sum / total)
