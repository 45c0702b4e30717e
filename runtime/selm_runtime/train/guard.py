"""The guard over the exploring term, which is unbounded below: it stops a training that has gone astray.

A term that lowers log pi of the explored responses is held back by the preference part alone; where its weight is too
large they fall without end, and the policy with them (hundreds of nats within an iteration). What is watched is the
mean of log pi - log pi_ref over the explored responses of an optimizer step: equal on all ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

from selm_runtime.contract import GuardConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train.metrics import EXPLORED

WARNED = "exploredWarning"
"""1 in the metrics of a step whose explored responses have fallen by more than `WARNING_NATS`, else 0."""
WARNING_NATS = 100.0
"""Whatever the limit: metrics are a function of the inputs, and the limit changes no weight."""


def is_worth_telling(metrics: Mapping[str, float], guard: GuardConfig) -> bool:
    """Whether people that follow the log should know: half of the limit is used up, or the metrics warn."""
    half = WARNING_NATS if guard.max_log_ratio is None else min(WARNING_NATS, guard.max_log_ratio / 2)
    return -metrics.get(EXPLORED, 0.0) > half


def watch(step: int, metrics: Mapping[str, float], guard: GuardConfig) -> dict[str, float]:
    """What the guard adds to the metrics of a step, from 1; nothing where no explored response was run.

    Raises InvalidInput (`ExploredLogRatio`) beyond `guard.maxLogRatio`.
    """
    if EXPLORED not in metrics:
        return {}
    fallen = -metrics[EXPLORED]
    if guard.max_log_ratio is not None and fallen > guard.max_log_ratio:
        raise InvalidInput(
            "ExploredLogRatio",
            f"at optimizer step {step} the explored responses' log-probability is {fallen:.4g} nats below the "
            f"reference's in the mean; spec.training.guard.maxLogRatio allows {guard.max_log_ratio:g}. A lower alpha "
            "or learningRate in spec.schedule keeps the exploring term in bounds",
        )
    return {WARNED: float(fallen > WARNING_NATS)}
