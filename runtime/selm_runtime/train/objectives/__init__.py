"""The objectives and their registry.

A new objective is a module beside `selm.py` with an `OBJECTIVE`; its name goes into the API's enum, its parameters, if
it has some, into a group of its own there and in the contract (docs/objectives.md). No module of this package imports
torch before a loss is computed.
"""

from __future__ import annotations

from selm_runtime.train.objectives.base import Evaluated, Objective, Record, Running, Sums
from selm_runtime.train.objectives.needs import (
    Needs,
    explored_policy,
    in_force,
    needs_of,
    objective_of,
    settings_that_count,
)
from selm_runtime.train.objectives.registry import OBJECTIVES

__all__ = [
    "OBJECTIVES",
    "Evaluated",
    "Needs",
    "Objective",
    "Record",
    "Running",
    "Sums",
    "explored_policy",
    "in_force",
    "needs_of",
    "objective_of",
    "settings_that_count",
]
