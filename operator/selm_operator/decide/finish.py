"""The end of a run: never derived from children, which may be gone, but from the book."""

from __future__ import annotations

from selm_operator.constants import Reason
from selm_operator.decide.acceptance import is_finished
from selm_operator.decide.case import Case
from selm_operator.decide.verdict import Verdict
from selm_operator.ledger import is_stopped


def finished(case: Case) -> Verdict | None:
    """Whether the last iteration is evaluated, or the run was ended early. Only raising `iterations` takes it back."""
    if not is_finished(case):
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
    return Verdict(reason, message, succeeded="True", suspended=case.spec.suspend)
