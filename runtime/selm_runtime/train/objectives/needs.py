"""What one iteration's training needs, by its objective: asked by loop, reference pass, pairs' table and digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from selm_runtime.contract import OBJECTIVE_PARAMETERS, ObjectiveConfig, PhaseConfig
from selm_runtime.train.objectives.base import Objective
from selm_runtime.train.objectives.registry import OBJECTIVES


@dataclass(frozen=True)
class Needs:
    """Of one iteration's training."""

    explored: bool
    """The explored responses are run."""
    reference: bool
    """The reference's log-probs are computed, and so its model fetched."""
    past: bool
    """The pairs of earlier iterations are trained on beside this one's."""


def objective_of(config: PhaseConfig) -> Objective:
    """The registry's entry."""
    return OBJECTIVES[config.training.objective.type]


def in_force(config: PhaseConfig) -> ObjectiveConfig:
    """The objective's settings: with the data's own pairs nothing was explored, so an exploring `alpha` is 0."""
    settings = config.training.objective
    if config.training.pairs == "Offline" and objective_of(config).alpha_explores(settings):
        return settings.model_copy(update={"alpha": 0.0})
    return settings


def needs_of(config: PhaseConfig) -> Needs:
    """A pure function of the config; imports no heavy library."""
    objective = objective_of(config)
    fixed = config.training.reference == "Initial"
    return Needs(
        explored=objective.explores(in_force(config)),
        reference=objective.needs_reference,
        past=config.training.pairs == "Online" and (objective.needs_age or (objective.from_reference and fixed)),
    )


def explored_policy(config: PhaseConfig) -> str | None:
    """The policy whose responses are explored; None where none are run.

    An objective that asks for the reference's takes those where the reference answered, too; else the current policy's,
    which is the reference in the first iteration and with `reference: Previous`.
    """
    if not needs_of(config).explored:
        return None
    reference_answers = "Reference" in config.generation.policies
    return "Reference" if objective_of(config).from_reference and reference_answers else "Current"


def settings_that_count(config: PhaseConfig) -> dict[str, Any]:
    """The part of the objective's settings that can change its loss: what input digests cover."""
    objective, dumped = objective_of(config), in_force(config).model_dump(mode="json", by_alias=False)
    own = [name for name, field in ObjectiveConfig.model_fields.items() if (field.alias or name) in _GROUPS]
    counting = {"type", "beta", *objective.reads, *(name for name in own if dumped[name] is not None)}
    if "explored" in objective.reads and not needs_of(config).explored:
        counting -= {"explored", "optimism_weighting"}
    return {name: dumped[name] for name in sorted(counting)}


_GROUPS = frozenset(OBJECTIVE_PARAMETERS.values())
