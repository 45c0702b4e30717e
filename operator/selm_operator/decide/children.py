"""Children of a finished run: deleted `retention.ttlSecondsAfterFinished` after its end, and never the run.

What the run has made is in the store and in its status; its Jobs are what `kubectl logs` reads. A failed run is finished
too, and can be repaired as before: the book knows its attempts.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import SELMRunStatus
from selm_operator.constants import ConditionType
from selm_operator.decide.case import Case
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import Action, DeleteJob, DeleteService
from selm_operator.ledger import condition_of

MOST_DELETIONS = 32
"""Children deleted in one pass: a long run has hundreds, and other runs wait for the worker."""


def expiry(spec: SELMRunSpec, status: SELMRunStatus) -> datetime | None:
    """When the children are to go; None where they stay or the run is not finished, as the status was written last."""
    seconds = spec.retention.ttl_seconds_after_finished
    outcome = condition_of(status, ConditionType.SUCCEEDED)
    if seconds is None or outcome is None or outcome.status == "Unknown":
        return None
    return outcome.last_transition_time + timedelta(seconds=seconds)


def without_expired_children(case: Case, verdict: Verdict) -> Verdict:
    """The verdict on a finished run with the deletion of its children, or with the time of it."""
    seconds = case.spec.retention.ttl_seconds_after_finished
    if verdict.succeeded not in ("True", "False") or seconds is None:
        return verdict
    due = expiry(case.spec, case.snapshot.run.status)
    remaining = float(seconds) if due is None else (due - case.now).total_seconds()
    if remaining > 0 or due is None:
        return replace(verdict, requeue_after=remaining)
    children: list[Action] = [DeleteJob(job.name, job.uid) for job in case.snapshot.jobs if job.deleted is None]
    service = case.snapshot.service
    if service is not None and service.ours:
        children.append(DeleteService(service.name, service.uid))
    more = case.waits.poll_old_job if len(children) > MOST_DELETIONS else None
    return replace(verdict, actions=(*verdict.actions, *children[:MOST_DELETIONS]), requeue_after=more)
