"""The learning rate as a pure function of the step: nothing to checkpoint, nothing to resume."""

from __future__ import annotations

import math
from typing import Literal


def warmup_steps(steps: int, ratio: float) -> int:
    """Steps of linear warm-up; rounded up, as the field's trainers do."""
    return math.ceil(steps * ratio)


def learning_rate(
    step: int, *, steps: int, peak: float, warmup_ratio: float, scheduler: Literal["Cosine", "Linear", "Constant"]
) -> float:
    """The rate of optimizer step `step` (from 0) of `steps`.

    Warm-up rises linearly and reaches `peak` at its end; its first step has peak / (warm-up + 1), not 0, so that no
    step is wasted. Cosine and Linear then fall and would reach 0 one step after the last.
    """
    warmup = warmup_steps(steps, warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    if scheduler == "Cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
    if scheduler == "Linear":
        return peak * (1.0 - progress)
    return peak
