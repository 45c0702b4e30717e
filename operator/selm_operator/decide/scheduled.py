"""A change of the schedule: how far it still reaches, and the warning where it reaches nothing."""

from __future__ import annotations

from typing import Any

from selm_operator.constants import Reason
from selm_operator.decide.case import Case
from selm_operator.decision import Announcement
from selm_operator.ledger import OFFLINE_SKIPS, is_committed, open_position, with_current, with_phase
from selm_operator.schedule import in_force, without_effect
from selm_runtime.contract import Phase


def turn_offline(case: Case) -> Case:
    """An iteration that is told, while it generates or scores, to take the data's pairs skips what is left of that."""
    position = case.position
    if position is None or position[1] not in OFFLINE_SKIPS or not _is_between_attempts(case):
        return case
    iteration = position[0]
    if in_force(case.spec, case.status, iteration).pairs != "Offline":
        return case
    status = case.status
    for phase in OFFLINE_SKIPS:
        if not is_committed(status, (iteration, phase)):
            status = with_phase(status, (iteration, phase), state="Skipped")
    return case.book(open_position(status, case.spec, (iteration, Phase.TRAINING)))


def with_schedule(case: Case) -> Case:
    """Records what the next attempt goes by, so that a committed phase's values are known ever after."""
    current = case.current
    if current is None or not _is_between_attempts(case):
        return case
    schedule = in_force(case.spec, case.status, current.iteration)
    return case if current.schedule == schedule else case.book(with_current(case.status, schedule=schedule))


def _is_between_attempts(case: Case) -> bool:
    """Whether a phase is to be begun or tried again: a Job at work goes by what it was made with."""
    return not case.spec.suspend and case.current is not None and not case.committed and case.accounted


def changes_without_effect(case: Case) -> tuple[Announcement, ...]:
    """A warning for each change of the schedule that comes too late; told with the spec's generation that has it."""
    run = case.snapshot.run
    if run.spec is None or run.generation == run.status.observed_generation or case.current is None:
        return ()
    iteration = case.current.iteration
    return tuple(
        Announcement(
            "Warning",
            Reason.SCHEDULE_WITHOUT_EFFECT,
            f"spec.schedule: {field} of iteration {iteration} is {_words(wanted)} now, but what it changes is committed, "
            f"made with {_words(got)}; it has no effect",
            key=field,
        )
        for field, wanted, got in without_effect(case.spec, case.status)
    )


def _words(value: Any) -> str:
    return "left to the phase's own setting" if value is None else f"{value}"
