"""The schedule as in force: what the spec asks for in an iteration, but for what its committed phases were made with.

`status.current.schedule` holds the values that the iteration at work goes by. It is written when the iteration is opened,
and again before an attempt starts after a change, so it says of each committed phase what that was made with.
"""

from __future__ import annotations

from typing import Any

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import ScheduleValues, SELMRunStatus
from selm_operator.ledger import asked_schedule, is_committed
from selm_runtime.contract import Phase

MADE_WITH: dict[Phase, tuple[str, ...]] = {
    Phase.GENERATION: ("temperature", "samples_per_prompt"),
    Phase.TRAINING: ("learning_rate", "alpha", "beta"),
}
"""Fields of a schedule entry by the phase whose result they change."""


def in_force(spec: SELMRunSpec, status: SELMRunStatus, iteration: int) -> ScheduleValues:
    """What an iteration goes by from here on."""
    wanted, made = asked_schedule(spec, iteration), _recorded(status, iteration)
    if made is None:
        return wanted
    return wanted.model_copy(update={name: getattr(made, name) for name in settled_fields(status, iteration)})


def settled_fields(status: SELMRunStatus, iteration: int) -> tuple[str, ...]:
    """The fields of the iteration at work that a change no longer reaches.

    An iteration that began on offline pairs has skipped the phases before Training, and nothing goes back to them.
    """
    made = _recorded(status, iteration)
    if made is None:
        return ()
    settled = [name for phase, names in MADE_WITH.items() if is_committed(status, (iteration, phase)) for name in names]
    if made.pairs == "Offline" or is_committed(status, (iteration, Phase.TRAINING)):
        settled.append("pairs")
    return tuple(settled)


def without_effect(spec: SELMRunSpec, status: SELMRunStatus) -> tuple[tuple[str, Any, Any], ...]:
    """What the spec asks for in the iteration at work and does not get: field, value asked for, value in force."""
    if status.current is None:
        return ()
    iteration = status.current.iteration
    wanted, got = asked_schedule(spec, iteration), in_force(spec, status, iteration)
    return tuple(
        (field.alias or name, getattr(wanted, name), getattr(got, name))
        for name, field in ScheduleValues.model_fields.items()
        if getattr(wanted, name) != getattr(got, name)
    )


def _recorded(status: SELMRunStatus, iteration: int) -> ScheduleValues | None:
    current = status.current
    return current.schedule if current is not None and current.iteration == iteration else None
