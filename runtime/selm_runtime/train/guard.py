"""The guard over the exploring term, which is unbounded below: it stops a training that has gone astray.

A term that lowers log pi of some responses is held back by the preference part alone; where its weight is too large they
fall without end, and the policy with them (hundreds of nats within an iteration). What is watched is the mean of
log pi - log pi_ref over an optimizer step's explored responses, or over those that the objective lowers in their place:
equal on all ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

from selm_runtime.contract import GuardConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train.objectives.base import EXPLORED, LOWERED

WARNED = "exploredWarning"
"""1 in the metrics of a step whose watched responses have fallen by more than `WARNING_NATS`, else 0."""
WARNING_NATS = 100.0
"""Whatever the limit: metrics are a function of the inputs, and the limit changes no weight."""
WATCHED = {EXPLORED: "the explored responses", LOWERED: "the responses that the objective lowers"}
"""Metrics of log-ratios, of which an objective has at most one, and whose they are."""


def watched(metrics: Mapping[str, float]) -> str | None:
    """The metric that the guard looks at; None where nothing explores."""
    return next((name for name in WATCHED if name in metrics), None)


def is_worth_telling(metrics: Mapping[str, float], guard: GuardConfig) -> bool:
    """Whether people that follow the log should know: half of the limit is used up, or the metrics warn."""
    half = WARNING_NATS if guard.max_log_ratio is None else min(WARNING_NATS, guard.max_log_ratio / 2)
    name = watched(metrics)
    return name is not None and -metrics[name] > half


def watch(step: int, metrics: Mapping[str, float], guard: GuardConfig) -> dict[str, float]:
    """What the guard adds to the metrics of a step, from 1; nothing where nothing explores.

    Raises InvalidInput (`ExploredLogRatio`) beyond `guard.maxLogRatio`.
    """
    name = watched(metrics)
    if name is None:
        return {}
    fallen = -metrics[name]
    if guard.max_log_ratio is not None and fallen > guard.max_log_ratio:
        raise InvalidInput(
            "ExploredLogRatio",
            f"at optimizer step {step} the log-probability of {WATCHED[name]} is {fallen:.4g} nats below the reference's in "
            f"the mean; spec.training.guard.maxLogRatio allows {guard.max_log_ratio:g}. A lower alpha or learningRate in "
            "spec.schedule keeps the exploring term in bounds",
        )
    return {WARNED: float(fallen > WARNING_NATS)}
