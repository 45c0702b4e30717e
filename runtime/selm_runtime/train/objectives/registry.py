"""The registry of objectives: every module of this package that has an `OBJECTIVE`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from selm_runtime.train.objectives.base import Objective


def _found() -> Iterator[Objective]:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        objective = getattr(importlib.import_module(f"selm_runtime.train.objectives.{module.name}"), "OBJECTIVE", None)
        if isinstance(objective, Objective):
            yield objective


def _by_name(objectives: Iterator[Objective]) -> dict[str, Objective]:
    registry: dict[str, Objective] = {}
    for objective in objectives:
        if objective.name in registry:
            raise ValueError(f"two objectives are named {objective.name}")
        registry[objective.name] = objective
    return registry


OBJECTIVES: dict[str, Objective] = _by_name(_found())
"""By the value of `spec.training.objective.type`."""
