"""From a verdict to the five conditions, by the API conventions and kstatus.

Succeeded is the summary and tells reason and message of whatever is at work; Reconciling and Stalled are kstatus' two,
never both True; Suspended is True only at rest.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from selm_operator.api.status import MAX_CONDITION_MESSAGE, Condition, SELMRunStatus
from selm_operator.constants import ConditionType, Reason
from selm_operator.decide.verdict import Verdict

State = Literal["True", "False", "Unknown"]


def conditions_of(verdict: Verdict, before: SELMRunStatus, generation: int, now: datetime) -> tuple[Condition, ...]:
    """The five conditions; those whose state did not change keep the time of their last transition."""
    told = {condition.type: condition for condition in before.conditions or ()}
    succeeded = verdict.succeeded or (
        told[ConditionType.SUCCEEDED].status if ConditionType.SUCCEEDED in told else "Unknown"
    )
    ended = succeeded != "Unknown"
    reconciling = not (ended or verdict.stalled or verdict.suspended)
    suspending = verdict.reason == Reason.SUSPENDING
    not_suspended = "the run waits for its Job to end" if suspending else "the run is not suspended"

    def condition(type_: str, state: State, reason: str, message: str) -> Condition:
        old = told.get(type_)
        return Condition(
            type=type_,
            status=state,
            reason=reason,
            message=message[:MAX_CONDITION_MESSAGE],
            observed_generation=generation,
            last_transition_time=old.last_transition_time if old and old.status == state else now,
        )

    reason, message = verdict.reason, verdict.message
    outcome = told.get(ConditionType.SUCCEEDED)
    keeps_outcome = verdict.succeeded is None and ended and outcome is not None
    if keeps_outcome and outcome and outcome.status == "False" and not verdict.stalled:
        stalled = condition(ConditionType.STALLED, "True", outcome.reason, outcome.message)  # a failure stays one
    elif verdict.stalled:
        stalled = condition(ConditionType.STALLED, "True", reason, message)
    else:
        stalled = condition(ConditionType.STALLED, "False", Reason.NOT_STALLED, "nothing has to be repaired")
    return (
        condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the spec is accepted")
        if verdict.accepted
        else condition(ConditionType.ACCEPTED, "False", reason, message),
        condition(ConditionType.SUCCEEDED, succeeded, outcome.reason, outcome.message)
        if keeps_outcome and outcome
        else condition(ConditionType.SUCCEEDED, succeeded, reason, message),
        condition(ConditionType.SUSPENDED, "True", Reason.SUSPENDED, message)
        if verdict.suspended
        else condition(
            ConditionType.SUSPENDED, "False", Reason.SUSPENDING if suspending else Reason.NOT_SUSPENDED, not_suspended
        ),
        condition(ConditionType.RECONCILING, "True" if reconciling else "False", reason, message),
        stalled,
    )
