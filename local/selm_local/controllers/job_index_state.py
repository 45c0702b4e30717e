"""The state of an Indexed Job by completion index, and which indexes may get a pod now."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from selm_local.controllers import job_backoff
from selm_local.controllers.job_indexes import parse_indexes
from selm_local.controllers.job_pods import index_absolute_failures, index_failure_count, is_tracked
from selm_local.controllers.job_policy import (
    completion_index,
    is_pod_failed,
    match_failure_policy,
    replaces_only_failed,
)
from selm_local.controllers.objects import Obj, is_deleting, is_terminal, pod_phase


@dataclass
class IndexState:
    """succeeded_before: as the status has it. failed: None without backoffLimitPerIndex.

    delayed: by index, the last failed pod of an index that is neither done nor active. It keeps its finalizer until
    its failure count has been handed on to the pod that replaces it.
    """

    succeeded_before: set[int]
    succeeded: set[int]
    failed: set[int] | None = None
    delayed: dict[int, Obj] = field(default_factory=dict)


def index_state(job: Obj, pods: list[Obj], active: list[Obj], status: Obj) -> IndexState:
    """Read the indexes' state from the status and from pods that it does not count yet."""
    completions = int(job["spec"]["completions"])
    before = parse_indexes(status.get("completedIndexes"), completions)
    by_index = [(index, pod) for pod in pods if (index := completion_index(pod)) is not None and index < completions]
    succeeded = before | {index for index, pod in by_index if pod_phase(pod) == "Succeeded" and is_tracked(pod)}
    state = IndexState(before, succeeded)
    if job["spec"].get("backoffLimitPerIndex") is None:
        return state
    state.failed = parse_indexes(status.get("failedIndexes"), completions)
    # A pod that the controller itself deleted, for a suspension, lost its tracking finalizer before and fails nothing.
    state.failed |= {index for index, pod in by_index if is_tracked(pod) and _fails_index(job, pod)}
    running = {completion_index(pod) for pod in active}
    for index, pod in by_index:
        if not is_tracked(pod) or not is_pod_failed(pod, job) or index in running | succeeded | state.failed:
            continue
        last = state.delayed.get(index)
        if last is None or _later(pod, last):
            state.delayed[index] = pod
    return state


def creatable_indexes(
    job: Obj, pods: list[Obj], active: list[Obj], state: IndexState, count: int, now: datetime
) -> tuple[list[int], timedelta]:
    """Up to `count` pending indexes whose back-off is over, lowest first.

    Returns the indexes, and how long until the next of those whose back-off is not over (zero: there is none).
    """
    taken = {completion_index(pod) for pod in active} | state.succeeded | (state.failed or set())
    if replaces_only_failed(job):
        taken |= {completion_index(pod) for pod in pods if is_deleting(pod) and not is_terminal(pod)}
    pending = [index for index in range(int(job["spec"]["completions"])) if index not in taken][:count]
    ready: list[int] = []
    delays: list[timedelta] = []
    for index in pending:
        last = state.delayed.get(index)
        delay = timedelta(0)
        if last is not None:
            delay = job_backoff.remaining(index_absolute_failures(last) + 1, job_backoff.finish_time(last), now)
        if delay > timedelta(0):
            delays.append(delay)
        else:
            ready.append(index)
    return ready, min(delays, default=timedelta(0))


def _fails_index(job: Obj, pod: Obj) -> bool:
    if not is_pod_failed(pod, job):
        return False
    match = match_failure_policy(job, pod)
    if match.action == "FailIndex":
        return True
    return match.counts and index_failure_count(pod) >= int(job["spec"]["backoffLimitPerIndex"])


def _later(pod: Obj, than: Obj) -> bool:
    return index_absolute_failures(pod) >= index_absolute_failures(than) and job_backoff.finish_time(
        pod
    ) >= job_backoff.finish_time(than)
