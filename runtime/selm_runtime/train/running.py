"""Running mean and deviation of what an objective observes, over whole optimizer steps.

Computed over all ranks' pairs of a step, so that neither ranks nor micro-batches matter, and smoothed over the steps so
far. All of it stays on the device. The past is read from the steps' metrics: those are in every checkpoint, so there is
nothing else to resume.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
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
    """The smoothed figures for the loss, and the step's own for its metrics; scalars on the device."""

    figures: Running
    metrics: Mapping[str, Tensor]


class Observations:
    """The figures of the steps so far, newest first."""

    def __init__(self, history: Sequence[Mapping[str, float]], device: torch.device) -> None:
        """`history`: the metrics of the steps before this attempt."""
        past = [[step[MEAN], step[DEVIATION]] for step in history[-STEPS:] if MEAN in step]
        self._steps = deque(
            (torch.tensor(step, dtype=torch.float64, device=device) for step in reversed(past)), maxlen=STEPS + 1
        )

    def observe(self, values: Tensor, ranks: Ranks) -> Observed:
        """From this rank's values [pairs] of a step; equal on all ranks. Every rank calls it.

        The deviation is the unbiased one, 0 for a single pair.
        """
        own = values.double()
        total, count = ranks.total_on_device(torch.stack([own.sum(), own.new_full((), float(own.numel()))]))
        mean = total / count
        squares = ranks.total_on_device((own - mean).square().sum())
        deviation = (squares / (count - 1.0).clamp(min=1.0)).sqrt()  # of a single pair: of 0
        self._steps.appendleft(torch.stack([mean, deviation]))
        return Observed(self._smoothed(), {MEAN: mean, DEVIATION: deviation})

    def _smoothed(self) -> Running:
        """The exponentially weighted mean of the figures up to and with the newest, corrected for its beginning."""
        steps = torch.stack(list(self._steps))
        ages = torch.arange(len(steps), dtype=torch.float64, device=steps.device)
        weights = DECAY**ages
        mean, deviation = (weights[:, None] * steps).sum(0) / weights.sum()
        return Running(mean, deviation)
