"""What an objective is: a pure function of summed log-probabilities, and the two properties the trainer asks it for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from selm_runtime.contract import ObjectiveConfig


@dataclass(frozen=True)
class Sums:
    """Log-probabilities of each pair's responses, summed over response tokens (EOS included), in nats.

    Every tensor has shape [pairs] and is float32 (or float64 in tests). `explored` is None where the objective does
    not act on the explored response: then that response is not run at all.
    """

    chosen: Tensor
    rejected: Tensor
    explored: Tensor | None = None


@dataclass(frozen=True)
class Evaluated:
    """An objective's value: `losses` [pairs], one a pair, in nats, and per-pair metrics [pairs] without gradient."""

    losses: Tensor
    metrics: Mapping[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """One entry of the registry.

    `evaluate(policy, reference, config)` is pure: no state, no device choice, no reduction over pairs, so that the
    mean over an optimizer step does not depend on how its pairs were spread over ranks and micro-batches.
    """

    name: str
    evaluate: Callable[[Sums, Sums, ObjectiveConfig], Evaluated]
    needs_explored: Callable[[ObjectiveConfig], bool]
    needs_reference: bool = True
