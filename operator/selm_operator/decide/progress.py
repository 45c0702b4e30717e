"""What the active Job is doing: queued, pending and why, or running and how far."""

from __future__ import annotations

from datetime import timedelta

from selm_operator.api.status import SELMRunStatus, ShardCounts
from selm_operator.constants import LABEL_JOB_NAME, RUNNING_REASON, Reason
from selm_operator.decide.attempts import title
from selm_operator.decide.case import Case
from selm_operator.decide.images import pin, with_image
from selm_operator.decide.suspension import orphans_message, until_abandoned
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import Announcement
from selm_operator.ledger import Position, phase_status, with_current, with_phase
from selm_operator.snapshot import JobView
from selm_runtime.contract import Phase

SHARD_STEPS = 8
"""Status writes at most that only say how many shards are done: more would be history, not state."""

SHARDED = (Phase.GENERATION, Phase.SCORING)
"""Phases whose pods end each by itself; the nodes of a training end together."""


def wants_pods(case: Case) -> bool:
    """Whether the pods of the attempt's Job say something that matters now: how it ended, or why it does not begin,
    or go on."""
    job = case.job
    if job is None or case.accounted or case.committed:
        return False
    if job.complete is not None or case.has_failed(job) or job.is_late(case.now, case.waits.pending_grace):
        return True
    return job.suspended is None and job.at_work_for(case.now) >= case.waits.no_progress


def follow(case: Case) -> Case:
    """Enters the active Job in the status: whoever made it, it is the attempt at work from here on."""
    job, position = case.job, case.position
    if job is None or position is None or not case.is_active(job) or job.deleted is not None:
        return case
    status = started(case, position, job.name, job.attempt, job.indexes, job.image)
    shards = status.current.shards if status.current else None
    if shards is not None and shards.total is not None:
        step = max(1, shards.total // SHARD_STEPS)
        done = min(job.succeeded, shards.total)
        if done == shards.total or done >= (shards.done or 0) + step:
            status = with_current(status, shards=ShardCounts(done=done, total=shards.total))
    status = pin(status, position[1], case.pods_of(job))
    return case if status == case.status else case.book(status)


def started(case: Case, position: Position, job_name: str, attempt: int, indexes: int, image: str) -> SELMRunStatus:
    """The status of a phase whose attempt has a Job: the same, whether it was just made or is found."""
    status = case.status
    entry = phase_status(status, position)
    begun = entry.start_time if entry and entry.start_time else case.now.replace(microsecond=0)
    status = with_phase(status, position, state="Running", attempts=attempt, start_time=begun)
    current = status.current
    if current is None or current.job_name != job_name or current.shards is None:
        status = with_current(
            status,
            attempt=attempt,
            job_name=job_name,
            shards=ShardCounts(done=0, total=indexes) if indexes > 1 and position[1] in SHARDED else None,
        )
    return with_image(status, position[1], image)


def waiting_for_deletion(case: Case) -> Verdict | None:
    """Whether the attempt's Job is being deleted: it counts as active until it is gone, and its pods with it."""
    job = case.job
    if case.orphans:
        return Verdict(Reason.WAITING_FOR_OLD_JOB, orphans_message(case), requeue_after=case.waits.poll_old_job)
    if job is None or job.deleted is None or not case.is_active(job):
        return None
    message = f"Job {job.name} is being deleted since {job.deleted:%H:%M:%S} UTC"
    return Verdict(Reason.WAITING_FOR_OLD_JOB, message, requeue_after=until_abandoned(case, job))


def at_work(case: Case) -> Verdict | None:
    """Whether the attempt's Job is active, and what it does."""
    job, position = case.job, case.position
    if job is None or position is None or not case.is_active(job):
        return None
    if job.suspended is not None:
        queue = f"queue {job.queue}" if job.queue else "the queue"
        words = f"{title(position)} waits in {queue}: Job {job.name} is suspended by it"
        return Verdict(Reason.QUEUED, f"{words} ({job.suspended.message})" if job.suspended.message else words)
    if case.snapshot.pods_of == job.name and (blocked := _blocked(case, job)) is not None:
        return _pending(case, job, blocked)
    if (silent := _without_progress(case, job)) is not None:
        return silent
    message = running_message(position, job.attempt, case.status)
    return Verdict(RUNNING_REASON[position[1]], message, requeue_after=_until_pending(case, job))


def running_message(position: Position, attempt: int, status: SELMRunStatus) -> str:
    """The message of a phase at work; shards where there are several and some are done."""
    shards = status.current.shards if status.current else None
    tries = f", attempt {attempt}" if attempt > 1 else ""
    done = f", {shards.done} of {shards.total} shards done" if shards and shards.done else ""
    return f"{title(position)} is at work{tries}{done}"


def _blocked(case: Case, job: JobView) -> str | None:
    """Why pods do not run: the first of them that says so."""
    pods = case.pods_of(job)
    for pod in sorted(pods, key=lambda pod: pod.index):
        if pod.unschedulable is not None:
            return f"pod {pod.name} is unschedulable: {pod.unschedulable}"
        if pod.waiting is not None:
            reason, message = pod.waiting
            return f"pod {pod.name} waits with {reason}{': ' + message if message else ''}"
    missing = job.pods - len({pod.index for pod in pods})
    if missing > 0:
        told = case.snapshot.not_made
        why = f": {told}" if told else "; its events say why (a quota, an admission rule)"
        return f"{missing} of {job.pods} pods of Job {job.name} are not made{why}"
    return None


def _without_progress(case: Case, job: JobView) -> Verdict | None:
    """Whether an attempt has run for long and the last sign of progress is old.

    What can be seen from here are ends of pods, of shards one after the other: chunks and checkpoints are in the store.
    So for a phase of one pod the limit is on the attempt's whole time. Nothing is stopped: it is said, once an attempt.
    """
    if case.snapshot.pods_of != job.name or case.position is None:
        return None
    ends = [pod.ended for pod in case.pods_of(job) if pod.exit_code == 0 and pod.ended is not None]
    since = max([job.started or job.created, *ends])
    waited = (case.now - since).total_seconds()
    if waited < case.waits.no_progress:
        return None
    sign = "the last shard ended" if ends else "it began"
    message = (
        f"{title(case.position)}, attempt {job.attempt}, shows no progress since {sign} {waited / 3600:.1f} hours ago; its "
        f"pods' logs (kubectl logs -l {LABEL_JOB_NAME}={job.name}) say what it does"
    )
    event = Announcement("Warning", Reason.NO_PROGRESS, message, key=job.name)
    return Verdict(Reason.NO_PROGRESS, message, events=(event,))


def _pending(case: Case, job: JobView, why: str) -> Verdict:
    position = case.position
    assert position is not None
    waited = case.now - (job.started or job.created)
    requeue = case.waits.poll_pending
    if waited < timedelta(seconds=case.waits.pending_too_long):
        return Verdict(Reason.PENDING, f"{title(position)} waits for its pods: {why}", requeue_after=requeue)
    message = f"{title(position)} waits for its pods for longer than {case.waits.pending_too_long:.0f} s: {why}"
    event = Announcement("Warning", Reason.PENDING_TOO_LONG, message, key=job.name)
    return Verdict(Reason.PENDING_TOO_LONG, message, events=(event,), requeue_after=requeue)


def _until_pending(case: Case, job: JobView) -> float | None:
    """A pod that does not start makes no Job event, so a Job whose pods are not ready is looked at again."""
    return None if job.ready + job.succeeded >= job.pods else case.waits.poll_pending
