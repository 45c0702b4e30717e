"""The attempts of a phase: entering an end in the book, the back-off, and when a phase is given up.

An attempt is accounted once: `current.failure.attempt` names the last one that was. The next attempt is made only after
that is written, so that no crash forgets a failure or counts it twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from selm_operator.api.status import MAX_FAILURE_MESSAGE, MAX_METRICS, Current, Failure, Metric, SELMRunStatus
from selm_operator.constants import Reason
from selm_operator.decide.case import Case
from selm_operator.decide.early_end import with_early_end
from selm_operator.decide.endings import Ending, Kind, ending_of
from selm_operator.decide.images import pin
from selm_operator.decide.verdict import Verdict
from selm_operator.decision import Announcement, Settled
from selm_operator.ledger import Position, phase_status, with_current, with_phase
from selm_operator.settings import Waits
from selm_operator.snapshot import JobView
from selm_runtime.contract import ExitCode, TerminationMessage

TEMPORARY = (Kind.TEMPORARY, Kind.PEER_LOST, Kind.LOST)
"""Kinds whose repetition stalls the run after `retry.temporaryDeadlineSeconds`."""


def title(position: Position) -> str:
    """A phase of a run, for a person."""
    iteration, phase = position
    return f"{phase.value} of iteration {iteration}"


def settle(case: Case) -> Case:
    """Enters the end of the last attempt in the book, if it ended and is not there yet."""
    position, job = case.position, case.job
    if position is None or case.accounted or case.committed or case.orphans:
        return case
    if job is not None and (job.complete is not None or case.has_failed(job)):
        ending = ending_of(job, case.pods_of(job))
        if ending.kind is Kind.COMMITTED and ending.said is not None:
            return _commit(case, position, job, ending.said)
        if case.spec.suspend and job.deleted is not None:
            return case  # ended by the suspension, which keeps its own book
        return _fail(case, position, job, ending)
    if job is not None and not case.is_abandoned(job):
        return case
    if case.spec.suspend:
        return case
    words = "its Job is gone" if job is None else "its Job is being deleted for longer than its pods may take"
    return _fail(case, position, job, Ending(Kind.LOST, words))


def _commit(case: Case, position: Position, job: JobView, said: TerminationMessage) -> Case:
    seconds = gpu_seconds(case, job)
    status = _with_attempt(with_gpu_seconds(case.status, position, seconds), position, job)
    now = case.now.replace(microsecond=0)
    status = with_phase(
        status,
        position,
        state="Succeeded",
        completion_time=now,
        manifest_digest=said.manifest,
        metrics=_metrics(said),
    )
    status = pin(status, position[1], case.pods_of(job))
    status = with_current(
        status,
        failure=None,
        counted_failures=None,
        progress=None,
        temporary_since=None,
        next_attempt_time=None,
        accounted_time=None,
    )
    changes: dict[str, object] = {}
    if said.best_iteration is not None:
        changes["best_iteration"] = said.best_iteration
    if said.model_uri is not None:
        changes["model_uri"] = said.model_uri
    if changes:
        status = status.model_copy(update=changes)
    status = with_early_end(replace(case, status=status), position)
    note = f"{title(position)} is committed"
    entry = phase_status(status, position)
    begun = entry.start_time if entry and entry.start_time else job.created
    lasted = max(0.0, (now - begun).total_seconds())
    case = case.settle(Settled(position[1].value, Kind.COMMITTED.value, "Committed", seconds, lasted))
    return case.book(status, Announcement("Normal", Reason.PHASE_SUCCEEDED, note, key=str(said.manifest)))


def _metrics(said: TerminationMessage) -> tuple[Metric, ...] | None:
    """Six digits: a status is read by people and holds fifty iterations; the manifest has the whole number."""
    finite = ((name, value) for name, value in sorted(said.metrics.items()) if math.isfinite(value))
    return tuple(Metric(name=name[:63], value=float(f"{value:.6g}")) for name, value in finite)[:MAX_METRICS] or None


def _fail(case: Case, position: Position, job: JobView | None, ending: Ending) -> Case:
    current = case.current
    assert current is not None
    gained = ending.progress > (current.progress or 0)
    counts = ending.kind is Kind.FAILED and not gained
    counted = (0 if gained else current.counted_failures or 0) + int(counts)
    wait = next_wait(ending.kind, None if gained else previous_wait(current), case.waits)
    now = case.now.replace(microsecond=0)
    seconds = gpu_seconds(case, job) if job is not None else 0.0
    status = _with_attempt(with_gpu_seconds(case.status, position, seconds), position, job)
    status = with_current(
        status,
        attempt=case.attempt,
        failure=Failure(
            attempt=case.attempt,
            exit_code=ending.exit_code,
            counted=counts,
            time=now,
            message=ending.message[:MAX_FAILURE_MESSAGE],
        ),
        counted_failures=counted or None,
        progress=max(ending.progress, current.progress or 0) or None,
        temporary_since=_temporary_since(ending.kind, gained, current, case),
        next_attempt_time=(case.now + timedelta(seconds=wait)).replace(microsecond=0),
        shards=None,
        accounted_time=None,
    )
    case = case.settle(Settled(position[1].value, ending.kind.value, "Kept" if gained else "Wasted", seconds))
    event = Announcement(
        "Warning",
        Reason.ATTEMPT_FAILED,
        f"{title(position)}, attempt {case.attempt} {_count_words(ending, counts, counted, case)}: {ending.message}",
        key=f"{position[0]}/{position[1].slug}/{case.attempt}",
    )
    booked = case.book(status, event)
    if given_up(booked) is not None:
        booked = replace(booked, status=with_phase(booked.status, position, state="Failed"))
    return booked


def _count_words(ending: Ending, counts: bool, counted: int, case: Case) -> str:
    if counts:
        return f"failed ({counted} of {case.spec.retry.max_attempts})"
    return "failed for good" if ending.kind is Kind.INVALID_INPUT else "ended and does not count"


def _temporary_since(kind: Kind, gained: bool, current: Current, case: Case) -> object:
    if kind is Kind.DISRUPTED:
        return current.temporary_since  # says nothing of the store, neither way
    if kind not in TEMPORARY:
        return None
    return case.now if gained or current.temporary_since is None else current.temporary_since


def _with_attempt(status: SELMRunStatus, position: Position, job: JobView | None) -> SELMRunStatus:
    if job is None:
        return status
    entry = phase_status(status, position)
    started = entry.start_time if entry and entry.start_time else job.created
    status = with_phase(status, position, attempts=job.attempt, start_time=started)
    return with_current(status, attempt=job.attempt, job_name=job.name)


def gpu_seconds(case: Case, job: JobView) -> float:
    """GPUs times the seconds that the Job had them, beyond those that are in the book already."""
    begun = max(filter(None, (job.started or job.created, case.current.accounted_time if case.current else None)))
    return job.pods * job.gpus_per_pod * max(0.0, ((job.ended or case.now) - begun).total_seconds())


def with_gpu_seconds(status: SELMRunStatus, position: Position, seconds: float) -> SELMRunStatus:
    """The status with GPU seconds added to the phase and to the run."""
    entry = phase_status(status, position)
    if not seconds or entry is None:
        return status
    status = with_phase(status, position, gpu_seconds=(entry.gpu_seconds or 0.0) + seconds)
    return status.model_copy(update={"gpu_seconds": (status.gpu_seconds or 0.0) + seconds})


def previous_wait(current: Current) -> float | None:
    """Seconds of the last back-off of this phase; None where there was none. It is not stored: two times tell it."""
    failure = current.failure
    if failure is None or failure.time is None or current.next_attempt_time is None:
        return None
    return max(0.0, (current.next_attempt_time - failure.time).total_seconds())


def next_wait(kind: Kind, previous: float | None, waits: Waits) -> float:
    """Seconds until the next attempt: doubling from the first to the longest; a lost Job is looked for at once, once."""
    if kind is Kind.LOST and previous is None:
        return 0.0
    if kind is Kind.DISRUPTED or previous is None:
        return waits.backoff_first
    return min(max(2.0 * previous, waits.backoff_first), waits.backoff_max)


def given_up(case: Case) -> Verdict | None:
    """Whether the phase is given up: input that it refused, or too many attempts that counted.

    Read off the book, not off the conditions: raising `retry.maxAttempts` takes it back, and so does the suspension,
    which clears the counts.
    """
    current, position = case.current, case.position
    if current is None or position is None or case.committed or not case.accounted or current.failure is None:
        return None
    failure = current.failure
    if failure.exit_code == ExitCode.INVALID_INPUT:
        message = f"{title(position)} refused its input: {failure.message}"
        return Verdict(Reason.INVALID_INPUT, message, succeeded="False", stalled=True)
    counted, allowed = current.counted_failures or 0, case.spec.retry.max_attempts
    if counted >= allowed:
        message = f"{title(position)} failed {counted} times (spec.retry.maxAttempts is {allowed}), at last: {failure.message}"
        return Verdict(Reason.ATTEMPTS_EXHAUSTED, message, succeeded="False", stalled=True)
    return None


def temporary_deadline(case: Case) -> Verdict | None:
    """Whether the store or a peer has been away for longer than the spec allows. Nothing is lost: it can go on."""
    current, position = case.current, case.position
    if current is None or position is None or current.temporary_since is None or current.failure is None:
        return None
    allowed = case.spec.retry.temporary_deadline_seconds
    if case.now < current.temporary_since + timedelta(seconds=allowed):
        return None
    message = (
        f"{title(position)} could not go on for more than {allowed} s (spec.retry.temporaryDeadlineSeconds), at last: "
        f"{current.failure.message}; raise that field, or suspend and resume the run"
    )
    return Verdict(Reason.TEMPORARY_DEADLINE_EXCEEDED, message, stalled=True)


def back_off(case: Case) -> Verdict | None:
    """Whether the next attempt has to wait for its time."""
    current, position = case.current, case.position
    if current is None or position is None or current.next_attempt_time is None or current.failure is None:
        return None
    remaining = (current.next_attempt_time - case.now).total_seconds()
    if remaining <= 0:
        return None
    if current.temporary_since is not None:  # the deadline may come first, and is to be told then
        deadline = current.temporary_since + timedelta(seconds=case.spec.retry.temporary_deadline_seconds)
        remaining = min(remaining, (deadline - case.now).total_seconds())
    message = f"{title(position)} waits until {current.next_attempt_time:%H:%M:%S} UTC to try again: {current.failure.message}"
    return Verdict(Reason.BACK_OFF, message, requeue_after=remaining)


def on_first(rules: tuple[Callable[[Case], Verdict | None], ...], case: Case) -> Verdict | None:
    """The verdict of the first rule that has one."""
    return next((verdict for rule in rules if (verdict := rule(case)) is not None), None)
