"""What goes between host and device, so that neither waits for the other more often than it must.

The host runs ahead of a GPU: it may queue the kernels of a step while those of the one before still run. Reading a value
of the device (`item`, `tolist`, a branch on it) makes it wait until all that was queued is done. So an optimizer step's
figures stay where they are, and those of several steps are read at once (`Unread`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

READ_STEPS = 16
"""Optimizer steps whose figures are read at once, at most."""
READ_SECONDS = 5.0
"""After so long they are read whatever their number, for those that follow the log: rank 0's clock decides."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a host's tensor, for which the host does not wait."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class StepFigures:
    """One optimizer step's figures over all ranks: sums and counts of means, and values, still on the device."""

    names: tuple[str, ...]
    totals: Tensor | None  # [2, names] float64: sums and counts
    values: Mapping[str, Tensor | float]  # scalars; a float is known to the host already

    def _on_device(self) -> list[str]:
        return [name for name, value in self.values.items() if isinstance(value, Tensor)]

    def flat(self) -> list[Tensor]:
        """All of the device's numbers, float64, in an order that `read` knows."""
        totals = [] if self.totals is None else [self.totals.flatten()]
        return [*totals, *(torch.as_tensor(self.values[name]).double().reshape(1) for name in self._on_device())]

    def read(self, numbers: list[float]) -> dict[str, float]:
        """The step's metrics from `flat`'s numbers on the host. A mean over nothing is left out."""
        size = 0 if self.totals is None else len(self.names)
        means = zip(self.names, numbers[:size], numbers[size : 2 * size], strict=True) if size else ()
        found = {name: total / count for name, total, count in means if count}
        known = {name: value for name, value in self.values.items() if not isinstance(value, Tensor)}
        return {**found, **known, **dict(zip(self._on_device(), numbers[2 * size :], strict=True))}


class Unread:
    """Figures of the optimizer steps that nobody has looked at yet, oldest first."""

    def __init__(self) -> None:
        self._steps: list[StepFigures] = []
        self._read = time.monotonic()

    @property
    def many(self) -> bool:
        """Whether there are `READ_STEPS` of them: the same on all ranks."""
        return len(self._steps) >= READ_STEPS

    @property
    def waits_long(self) -> bool:
        """Whether `READ_SECONDS` have passed since the last reading, by this process' clock."""
        return time.monotonic() - self._read >= READ_SECONDS

    def add(self, figures: StepFigures) -> None:
        self._steps.append(figures)

    def read(self) -> list[dict[str, float]]:
        """Each step's metrics, in one transfer; none is left."""
        flat = [step.flat() for step in self._steps]
        tensors = [tensor for step in flat for tensor in step]
        numbers = torch.cat(tensors).tolist() if tensors else []
        found, at = [], 0
        for step, own in zip(self._steps, flat, strict=True):
            size = sum(len(tensor) for tensor in own)
            found.append(step.read(numbers[at : at + size]))
            at += size
        self._steps, self._read = [], time.monotonic()
        return found
