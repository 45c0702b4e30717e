"""The registry of objectives. A new one is a module beside `selm.py` and one entry here."""

from __future__ import annotations

from selm_runtime.train.objectives.base import Evaluated, Objective, Sums
from selm_runtime.train.objectives.dpo import DPO
from selm_runtime.train.objectives.selm import SELM

OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in (SELM, DPO)}
"""By the value of `spec.training.objective.type`."""

__all__ = ["OBJECTIVES", "Evaluated", "Objective", "Sums"]
