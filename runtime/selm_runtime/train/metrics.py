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
from selm_runtime.train.ranks import Ranks

REPORTED = (
    "loss",
    "preferenceLoss",
    "rewardMargin",
    "rewardAccuracy",
    "rewardChosen",
    "rewardRejected",
    "exploredLogRatio",
    "gradNorm",
)
"""Of a step's metrics, those whose mean over the phase goes into its manifest, where the objective has them."""

LAST = ("loss", "rewardChosen")
"""Those whose value at the last step goes there too, as `lossLast`."""


class StepMean:
    """Sums per-pair metrics over micro-batches, on the device, and over ranks: one transfer a step."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Per-pair values [pairs] of one micro-batch; the names are the same in each."""
        self._names = sorted(metrics)
        sums = torch.stack([metrics[name].double().sum() for name in self._names])
        self._sums = sums if self._sums is None else self._sums + sums

    def over(self, pairs: int, ranks: Ranks) -> dict[str, float]:
        """The means over all ranks' pairs of the step; every rank calls it and gets the same."""
        totals = ranks.total([] if self._sums is None else self._sums.tolist())
        return {name: total / pairs for name, total in zip(self._names, totals, strict=True)}


def require_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Raise InvalidInput (`NonFiniteLoss`) where loss or gradient is NaN or infinite: equal on all ranks."""
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
    if "exploredLogRatio" not in step:
        return {}
    return {"klReference": -step["exploredLogRatio"]}


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
    """The phase's metrics: means over its steps, and some of the last step's."""
    means = {name: math.fsum(step[name] for step in history) / len(history) for name in REPORTED if name in history[0]}
    last = {f"{name}Last": history[-1][name] for name in LAST if name in history[-1]}
    return {**means, **last}
