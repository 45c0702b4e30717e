"""The control arm: when the second run is made, and what is told of it. It never holds up the run itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import Condition, ControlStatus, SELMRunStatus
from selm_operator.constants import ConditionType, Reason
from selm_operator.decide.case import Case
from selm_operator.decide.conditions import State
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import Announcement, CreateRun
from selm_operator.ledger import condition_of, order_of, position_of
from selm_operator.manifests.control import build_control
from selm_operator.manifests.names import control_name
from selm_runtime.contract import Phase

SCORED = (1, Phase.TRAINING)
"""Where a run is, at the earliest, when iteration 1 is scored, or skips that."""


def control_due(spec: SELMRunSpec, status: SELMRunStatus) -> bool:
    """Whether the control run is to be made, or to be looked for, by the status as it was written last.

    A suspended run begins nothing. One that is in the book is left alone: if somebody deletes it, it stays deleted.
    """
    position = position_of(status.current)
    scored = position is not None and order_of(position) >= order_of(SCORED)
    return spec.evaluation.control and not spec.suspend and status.control is None and scored


def with_control(case: Case, verdict: Verdict) -> tuple[Case, Verdict]:
    """The verdict with the control run's POST where its name is free; the book with it where it is there."""
    found, run = case.snapshot.control, case.snapshot.run
    if found is None or not verdict.accepted or case.snapshot.obstacle is not None:
        return case, verdict
    name = control_name(run.name)
    if found.ours and found.uid is not None:
        status = case.status.model_copy(update={"control": ControlStatus(name=name, uid=found.uid)})
        event = Announcement("Normal", Reason.CONTROL_CREATED, f"the control run is SELMRun {name}")
        return replace(case, status=status, events=(*case.events, event)), verdict
    if found.uid is None and found.refused is None:
        action = CreateRun(build_control(run, case.spec))
        return case, replace(verdict, actions=(action, *verdict.actions), requeue_after=0.0)
    wait = case.waits.backoff_max
    soon = wait if verdict.requeue_after is None else min(wait, verdict.requeue_after)
    reason, message = _in_the_way(case)
    event = Announcement("Warning", reason, message)
    told = condition_of(run.status, ConditionType.CONTROL_CREATED)
    events = () if told is not None and told.reason == reason else (event,)
    return replace(case, events=(*case.events, *events)), replace(verdict, requeue_after=soon)


def control_condition(case: Case, generation: int, now: datetime) -> tuple[Condition, ...]:
    """Whether the control run is made, and why not; none where no control is asked for."""
    if case.snapshot.run.spec is None or not case.spec.evaluation.control:
        return ()
    before = condition_of(case.snapshot.run.status, ConditionType.CONTROL_CREATED)
    state: State = "False"
    if case.status.control is not None:
        state, reason, message = (
            "True",
            Reason.CONTROL_CREATED,
            f"the control run is SELMRun {case.status.control.name}",
        )
    elif case.snapshot.control is not None and (case.snapshot.control.uid or case.snapshot.control.refused):
        reason, message = _in_the_way(case)
    elif before is not None and before.reason != Reason.CONTROL_WAITING:
        reason, message = before.reason, before.message  # not looked at in this pass
    else:
        reason, message = Reason.CONTROL_WAITING, "the control run is made when iteration 1 is scored"
    return (
        Condition(
            type=ConditionType.CONTROL_CREATED,
            status=state,
            reason=reason,
            message=message,
            observed_generation=generation,
            last_transition_time=before.last_transition_time if before and before.status == state else now,
        ),
    )


def _in_the_way(case: Case) -> tuple[str, str]:
    found, name = case.snapshot.control, control_name(case.snapshot.run.name)
    assert found is not None
    if found.refused is not None:
        return Reason.CONTROL_REFUSED, f"the API server refuses SELMRun {name}, it is tried again: {found.refused}"
    owners = f", owned by {found.owners}" if found.owners else ""
    return (
        Reason.CONTROL_NAME_TAKEN,
        f"SELMRun {name} ({found.uid}{owners}) has the control run's name; it is left alone, and the control run is made "
        "once that name is free. The run itself goes on",
    )
