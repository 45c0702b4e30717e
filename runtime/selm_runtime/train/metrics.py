"""Means over the pairs of an optimizer step, and over the steps of a phase."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from selm_runtime.errors import InvalidInput
from selm_runtime.train.objectives.base import EXPLORED
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.transfers import StepFigures, to_device

REPORTED = (
    "loss",
    "preferenceLoss",
    "rewardMargin",
    "rewardAccuracy",
    "rewardChosen",
    "rewardRejected",
    EXPLORED,
    "gradNorm",
)
"""Of a step's metrics, those whose mean over the phase goes into its manifest, where the objective has them."""

LAST = ("loss", "rewardMargin", "rewardChosen", EXPLORED, "gradNorm", "learningRate")
"""Those whose value at the last step goes there too, as `lossLast`."""

TOLD = (
    *(name for name in REPORTED if name != "preferenceLoss"),
    f"{EXPLORED}Lowest",
    *(f"{name}Last" for name in LAST if name not in ("gradNorm", "learningRate")),
)
"""Of the manifest's metrics, those that the pod tells beside its rates: a status has room for 16. `preferenceLoss` and
the last step's gradient norm and rate are in the manifest alone."""


class StepMean:
    """Means of metrics over a step: sums and counts over micro-batches and over ranks, on the device."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """One micro-batch's values, one for each pair (or response) that a metric speaks of; the same names in each."""
        self._names = sorted(metrics)
        sums = torch.stack([metrics[name].double().sum() for name in self._names])
        counts = torch.tensor([metrics[name].numel() for name in self._names], dtype=torch.float64)
        added = torch.stack([sums, to_device(counts, sums.device)])
        self._sums = added if self._sums is None else self._sums + added

    def over(self, ranks: Ranks, **values: Tensor | float) -> StepFigures:
        """The means over all ranks' values of the step, beside `values`; every rank calls it and gets the same.

        A metric that spoke of nothing in this step (no pair with an explored response) is left out when it is read.
        """
        if self._sums is None:  # on all ranks alike: each has as many micro-batches as the others
            return StepFigures((), None, values)
        return StepFigures(tuple(self._names), ranks.total_on_device(self._sums), values)


def require_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Raise InvalidInput (`NonFiniteLoss`) where loss or gradient of a step, from 1, is NaN or infinite: on all ranks."""
    for name in ("loss", "gradNorm"):
        if not math.isfinite(metrics[name]):
            raise InvalidInput(
                "NonFiniteLoss",
                f"{name} is {metrics[name]} at optimizer step {step}; the same happens on every retry: a lower "
                "spec.training.learningRate, a lower alpha, or Float32 precision is needed",
            )


def estimates(step: Mapping[str, float]) -> dict[str, float]:
    """What follows from a step's means: `klReference`, where explored responses were run.

    The mean of log pi_ref - log pi over responses that the reference sampled estimates KL(pi_ref || pi) without bias,
    in nats a response; below 0 by chance only. Responses at another temperature, or greedy ones, make it an index.
    """
    return {"klReference": -step[EXPLORED]} if EXPLORED in step else {}


def write_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Every step's metrics as Parquet: `step` from 1, then one float64 column a metric, by name, null where it has none.

    Equal histories give equal bytes: nothing of time, rates or memory is in them, so that an interrupted training
    leaves the same file as an undisturbed one.
    """
    names = sorted({name for step in history for name in step})
    schema = pa.schema([pa.field("step", pa.int64(), False), *(pa.field(name, pa.float64()) for name in names)])
    columns = [[step.get(name) for step in history] for name in names]
    pq.write_table(pa.table([list(range(1, len(history) + 1)), *columns], schema=schema), path)


def summary(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The phase's metrics: means over the steps that have them, the lowest explored log-ratio, some of the last step's."""
    found = {name: [step[name] for step in history if name in step] for name in REPORTED}
    means = {name: math.fsum(values) / len(values) for name, values in found.items() if values}
    explored = [step[EXPLORED] for step in history if EXPLORED in step]
    lowest = {"exploredLogRatioLowest": min(explored)} if explored else {}
    last = {f"{name}Last": history[-1][name] for name in LAST if name in history[-1]}
    return {**means, **lowest, **last}


def told(manifest: Mapping[str, float], rates: Mapping[str, float]) -> dict[str, float]:
    """What the termination message, and so the status, has of a training: `TOLD` and the attempt's rates."""
    return {**{name: manifest[name] for name in TOLD if name in manifest}, **rates}
