"""Jobs of the run that are not the one at work: left by a leader that woke late, or by a status that is older than they."""

from __future__ import annotations

from selm_operator.constants import Reason
from selm_operator.decide.case import Case
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import Announcement, DeleteJob
from selm_operator.ledger import order_of
from selm_operator.snapshot import JobView


def status_is_old(case: Case) -> Verdict | None:
    """Whether an active Job stands ahead of the status.

    A phase is opened in the status before its first Job is made, so the status that was read is not the newest one.
    Nothing is judged by it.
    """
    position = case.position
    ahead = [job for job in case.snapshot.jobs if position is None or job.position > order_of(position)]
    if not ahead:
        return None
    message = f"Job {ahead[0].name} stands ahead of the status, which is read again"
    return Verdict(Reason.WAITING_FOR_OLD_JOB, message, succeeded=None, requeue_after=case.waits.poll_old_job)


def stray_jobs(case: Case) -> Verdict | None:
    """Whether an active Job stands behind the status: it is deleted, and waited for."""
    position = case.position
    if position is None:
        return None
    strays = [job for job in case.snapshot.jobs if case.is_active(job) and _is_behind(job, case)]
    if not strays:
        return None
    doomed = [job for job in strays if job.deleted is None]
    return Verdict(
        Reason.WAITING_FOR_OLD_JOB,
        f"Job {strays[0].name} belongs to a phase or an attempt that is over; it is being deleted",
        succeeded=None,
        actions=tuple(DeleteJob(job.name, job.uid) for job in doomed),
        events=tuple(
            Announcement("Warning", Reason.JOB_STRAY, f"Job {job.name} is deleted", job.uid) for job in doomed
        ),
        requeue_after=case.waits.poll_old_job,
    )


def _is_behind(job: JobView, case: Case) -> bool:
    position = case.position
    assert position is not None
    here = order_of(position)
    return job.position < here or (job.position == here and (job.attempt < case.attempt or case.committed))
