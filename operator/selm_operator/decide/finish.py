"""The end of a run: never derived from children, which may be gone, but from the book."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from selm_operator.api.status import MAX_CONDITION_MESSAGE, Condition
from selm_operator.constants import ConditionType, Reason
from selm_operator.decide.acceptance import is_finished
from selm_operator.decide.attempts import given_up
from selm_operator.decide.case import Case
from selm_operator.decide.verdict import Verdict
from selm_operator.ledger import condition_of, is_stopped
from selm_runtime.contract import Phase


def push_is_due(case: Case) -> bool:
    """Whether the model has still to be pushed: neither done nor given up. A push that is given up fails no run."""
    if case.spec.push is None or case.position is None:
        return False
    return case.position[1] is not Phase.PUSH or not (case.committed or given_up(case))


def pushes_again(case: Case) -> bool:
    """Whether a run that has succeeded is at its push: repaired, or asked for afterwards."""
    outcome = condition_of(case.snapshot.run.status, ConditionType.SUCCEEDED)
    return case.snapshot.run.spec is not None and is_finished(case) and outcome is not None and outcome.status == "True"


def pushed_words(case: Case) -> str:
    """How the push of a finished run ended."""
    assert case.spec.push is not None
    failed = given_up(case)
    return f"it is not pushed: {failed.message}" if failed else f"it is pushed to {case.spec.push.uri}"


def pushed_condition(case: Case, now: datetime) -> Condition | None:
    """The condition `Pushed`; None where nothing is to be pushed."""
    run = case.snapshot.run
    if run.spec is None or run.spec.push is None:
        return None
    state: Literal["True", "False", "Unknown"] = "Unknown"
    reason, message = Reason.NOT_YET_PUSHED, "the model is pushed after the last iteration"
    if case.position is not None and case.position[1] is Phase.PUSH and is_finished(case):
        failed = given_up(case)
        if failed is not None:
            state, reason, message = "False", failed.reason, failed.message
        elif case.committed:
            state, reason, message = "True", Reason.PUSHED, f"the model is pushed to {run.spec.push.uri}"
        else:
            reason, message = Reason.PUSHING, f"the model is being pushed to {run.spec.push.uri}"
    old = condition_of(run.status, ConditionType.PUSHED)
    return Condition(
        type=ConditionType.PUSHED,
        status=state,
        reason=reason,
        message=message[:MAX_CONDITION_MESSAGE],
        observed_generation=run.generation,
        last_transition_time=old.last_transition_time if old and old.status == state else now,
    )


def finished(case: Case) -> Verdict | None:
    """Whether the last iteration is evaluated, or the run was ended early. Only raising `iterations` takes it back."""
    if not is_finished(case):
        return None
    if push_is_due(case):
        return None
    iterations, stopped = case.spec.iterations, case.status.stopped_early
    if stopped is not None and is_stopped(case.status, case.spec):
        reason = Reason.STOPPED_EARLY
        message = f"stopped after iteration {stopped.iteration} of {iterations}: {stopped.message}"
    else:
        reason = Reason.SUCCEEDED
        message = f"all {iterations} iterations are done" if iterations > 1 else "the iteration is done"
    best, model = case.status.best_iteration, case.status.model_uri
    if best is not None:
        message += f"; the best is iteration {best}" if best else "; none was better than the base"
    if model is not None:
        message += f": {model}"
    if case.spec.push is not None:
        message += f"; {pushed_words(case)}"
    return Verdict(reason, message, succeeded="True", suspended=case.spec.suspend)
