"""Suspension: the active Job is deleted in the foreground, its pods commit and end, and only then the run is at rest.

Coming to rest clears the counts, the back-off and the temporary deadline: it is how a person repairs a run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from selm_operator.api.status import Failure
from selm_operator.constants import Reason
from selm_operator.decide.attempts import gpu_seconds, title, with_gpu_seconds
from selm_operator.decide.case import Case
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import DeleteJob, Settled
from selm_operator.ledger import phase_status, with_current, with_phase
from selm_operator.snapshot import JobView


def account_for_the_stop(case: Case) -> Case:
    """Enters the GPU seconds of an attempt that is being stopped while its Job can still be seen: the Job takes what it
    knows with it. The seconds of its pods' grace are added only where the phase still commits in them."""
    job, current, position = case.job, case.current, case.position
    if job is None or current is None or position is None or not case.is_active(job):
        return case
    being_stopped = case.spec.suspend or job.deleted is not None
    if not being_stopped or current.accounted_time is not None or not job.gpus_per_pod:
        return case
    seconds = gpu_seconds(case, job)
    status = with_gpu_seconds(case.status, position, seconds)
    status = with_current(status, accounted_time=case.now.replace(microsecond=0))
    outcome: Literal["Kept", "Wasted"] = "Kept" if case.spec.suspend else "Wasted"
    return case.book(status).settle(Settled(position[1].value, None, outcome, seconds))


def come_to_rest(case: Case) -> Case:
    """With `suspend` and no active Job: the attempt that was stopped is accounted, and all counts begin anew."""
    current, position = case.current, case.position
    if not case.spec.suspend or current is None or position is None or case.committed:
        return case
    if case.orphans or (case.job is not None and case.is_active(case.job)):
        return case
    failure = current.failure
    stopped = not case.accounted
    if stopped:
        failure = Failure(
            attempt=case.attempt, counted=False, time=case.now.replace(microsecond=0), message="stopped by spec.suspend"
        )
    elif failure is not None:
        failure = failure.model_copy(update={"exit_code": None, "counted": False})
    rested = with_current(
        case.status,
        attempt=case.attempt or None,
        failure=failure,
        counted_failures=None,
        temporary_since=None,
        next_attempt_time=None,
        shards=None,
        accounted_time=None,
    )
    if stopped:
        case = case.settle(Settled(position[1].value, Reason.SUSPENDED, "Kept"))
    entry = phase_status(rested, position)
    if entry is not None and entry.state in ("Running", "Failed"):
        rested = with_phase(rested, position, state="Pending")
    return case if rested == case.status else case.book(rested)


def suspended(case: Case) -> Verdict | None:
    """With `suspend`: deletes the active Job, waits for it, rests."""
    if not case.spec.suspend:
        return None
    job, position = case.job, case.position
    if case.orphans:
        return Verdict(Reason.SUSPENDING, orphans_message(case), requeue_after=case.waits.poll_old_job)
    if job is None or not case.is_active(job):
        where = f" before {title(position)}" if position and not case.committed else ""
        return Verdict(Reason.SUSPENDED, f"the run is suspended{where}", suspended=True)
    if job.deleted is None:
        message = f"spec.suspend is true: Job {job.name} is being stopped"
        return Verdict(
            Reason.SUSPENDING, message, actions=(DeleteJob(job.name, job.uid),), requeue_after=case.waits.poll_old_job
        )
    message = f"Job {job.name} is being stopped since {job.deleted:%H:%M:%S} UTC; its pods have {job.grace_seconds} s"
    return Verdict(Reason.SUSPENDING, message, requeue_after=until_abandoned(case, job))


def orphans_message(case: Case) -> str:
    """What is waited for where a Job is gone before its pods."""
    assert case.current is not None
    names = ", ".join(pod.name for pod in case.orphans)
    return f"Job {case.current.job_name} is gone, pods of it still run: {names}"


def until_abandoned(case: Case, job: JobView) -> float:
    """Seconds until a Job being deleted no longer counts as active, or until it is looked at again."""
    if job.deleted is None:
        return case.waits.poll_old_job
    end = job.deleted + timedelta(seconds=job.grace_seconds + case.waits.deletion_margin)
    return min(case.waits.poll_old_job, max(0.0, (end - case.now).total_seconds()))
