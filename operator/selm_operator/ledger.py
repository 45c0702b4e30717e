"""The run's book: what `status.iterations` and `status.current` say, and how one entry is changed.

Pure functions over an immutable status. The book alone says what is committed and where the run is: Jobs may be gone.
"""

from __future__ import annotations

from typing import Any

from selm_operator.api.spec import ScheduleEntry, SELMRunSpec
from selm_operator.api.status import (
    Condition,
    Current,
    IterationStatus,
    PhaseName,
    PhaseState,
    PhaseStatus,
    ScheduleValues,
    SELMRunStatus,
)
from selm_runtime.contract import CommittedPhase, Phase

Position = tuple[int, Phase]
"""An iteration and a phase in it."""

ONLINE = (Phase.GENERATION, Phase.SCORING, Phase.TRAINING, Phase.EVALUATION)
FIRST = (Phase.PREPARATION, Phase.EVALUATION)
OFFLINE_SKIPS = (Phase.GENERATION, Phase.SCORING)


def schedule_entry(spec: SELMRunSpec, iteration: int) -> ScheduleEntry | None:
    """The schedule's entry of an iteration."""
    return next((entry for entry in spec.schedule if entry.iteration == iteration), None)


def asked_schedule(spec: SELMRunSpec, iteration: int) -> ScheduleValues:
    """What the spec asks for in an iteration; all absent where the schedule does not name it."""
    entry = schedule_entry(spec, iteration)
    return ScheduleValues(**{name: getattr(entry, name, None) for name in ScheduleValues.model_fields})


def condition_of(status: SELMRunStatus, type_: str) -> Condition | None:
    """The run's condition of a type, as the status was written last; None where it has none yet."""
    return next((condition for condition in status.conditions or () if condition.type == type_), None)


def trains_offline(spec: SELMRunSpec, iteration: int) -> bool:
    """Whether an iteration trains on the data's own pairs, without generation and scoring."""
    entry = schedule_entry(spec, iteration)
    return entry is not None and entry.pairs == "Offline"


def position_of(current: Current | None) -> Position | None:
    """Where the run is; None before its first iteration is opened."""
    if current is None or current.phase is None:
        return None
    return (current.iteration, Phase(current.phase))


def order_of(position: Position) -> tuple[int, int]:
    """A position as numbers that grow along the run."""
    return (position[0], list(Phase).index(position[1]))


def phase_status(status: SELMRunStatus, position: Position) -> PhaseStatus | None:
    """The book's entry of one phase; None where its iteration is not opened."""
    iteration, phase = position
    for entry in status.iterations or ():
        if entry.iteration == iteration:
            return next((done for done in entry.phases or () if done.phase == phase.value), None)
    return None


def is_committed(status: SELMRunStatus, position: Position) -> bool:
    entry = phase_status(status, position)
    return entry is not None and entry.state == "Succeeded"


def is_stopped(status: SELMRunStatus, spec: SELMRunSpec) -> bool:
    """Whether the run was ended early, and `iterations` was not raised since."""
    return status.stopped_early is not None and spec.iterations <= status.stopped_early.iterations


def committed_phases(status: SELMRunStatus) -> tuple[CommittedPhase, ...]:
    """What later phases are told of earlier ones, in the run's order."""
    return tuple(
        CommittedPhase(iteration=entry.iteration, phase=Phase(done.phase), manifest=done.manifest_digest)
        for entry in status.iterations or ()
        for done in entry.phases or ()
        if done.manifest_digest is not None
    )


def with_phase(status: SELMRunStatus, position: Position, **changes: Any) -> SELMRunStatus:
    """The status with one phase's entry changed. The iteration must be opened."""
    iteration, phase = position
    iterations = tuple(
        entry
        if entry.iteration != iteration
        else entry.model_copy(
            update={
                "phases": tuple(
                    done.model_copy(update=changes) if done.phase == phase.value else done
                    for done in entry.phases or ()
                )
            }
        )
        for entry in status.iterations or ()
    )
    return status.model_copy(update={"iterations": iterations})


def with_current(status: SELMRunStatus, **changes: Any) -> SELMRunStatus:
    """The status with `current` changed; it must be there."""
    assert status.current is not None
    return status.model_copy(update={"current": status.current.model_copy(update=changes)})


def open_position(status: SELMRunStatus, spec: SELMRunSpec, position: Position) -> SELMRunStatus:
    """The status with `current` at the beginning of a phase, its iteration added to the book if it is new."""
    iteration, phase = position
    iterations = status.iterations or ()
    if all(entry.iteration != iteration for entry in iterations):
        iterations = (*iterations, _new_iteration(spec, iteration))
    if phase is Phase.PUSH:
        iterations = tuple(_with_push(entry) if entry.iteration == iteration else entry for entry in iterations)
    before = status.current
    goes_on = before is not None and before.iteration == iteration
    schedule = before.schedule if before is not None and goes_on else asked_schedule(spec, iteration)
    current = Current(iteration=iteration, phase=phase_name(phase), schedule=schedule)
    return status.model_copy(update={"iterations": iterations, "current": current})


def _with_push(entry: IterationStatus) -> IterationStatus:
    """An iteration's entry with Push among its phases: whether it is the last one is known only at its end."""
    phases = entry.phases or ()
    if any(done.phase == phase_name(Phase.PUSH) for done in phases):
        return entry
    return entry.model_copy(update={"phases": (*phases, PhaseStatus(phase=phase_name(Phase.PUSH), state="Pending"))})


def _new_iteration(spec: SELMRunSpec, iteration: int) -> IterationStatus:
    skipped = OFFLINE_SKIPS if trains_offline(spec, iteration) else ()

    def state(phase: Phase) -> PhaseState:
        return "Skipped" if phase in skipped else "Pending"

    phases = FIRST if iteration == 0 else ONLINE
    entries = tuple(PhaseStatus(phase=phase_name(phase), state=state(phase)) for phase in phases)
    return IterationStatus(iteration=iteration, phases=entries)


def next_position(status: SELMRunStatus, spec: SELMRunSpec) -> Position | None:
    """The first phase after the current one that is neither committed nor skipped; None at the end of the run.

    An iteration that is not opened yet is read off the spec.
    """
    if status.current is None:
        return (0, Phase.PREPARATION)
    iteration = status.current.iteration
    opened = next((entry for entry in status.iterations or () if entry.iteration == iteration), None)
    for entry in (opened.phases or ()) if opened else ():
        if entry.state not in ("Succeeded", "Skipped") and entry.phase != phase_name(Phase.PUSH):
            return (iteration, Phase(entry.phase))
    if iteration >= spec.iterations or is_stopped(status, spec):
        pushed = spec.push is None or is_committed(status, (iteration, Phase.PUSH))
        return None if pushed or iteration == 0 else (iteration, Phase.PUSH)
    return (iteration + 1, Phase.TRAINING if trains_offline(spec, iteration + 1) else Phase.GENERATION)


def phase_name(phase: Phase) -> PhaseName:
    """The enum's value as the status' models have it."""
    return phase.value
