"""What the Job controller does about one Job: a pure function from the Job, its pods and the time.

The semantics are those of Kubernetes 1.36's controller (kubernetes/kubernetes: pkg/controller/job), including
KEP-2307 (tracking with finalizers), KEP-3329 (pod failure policy), KEP-3850 (back-off per index), KEP-3939 (pod
replacement policy), KEP-3998 (success policy) and KEP-4368 (terminal conditions wait for the pods to be gone).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta

from selm_local.controllers import job_backoff, job_policy
from selm_local.controllers.job_draft import (
    Draft,
    JobEvent,
    conclude,
    make_condition,
    set_condition,
    settle_uncounted,
    write_counts,
)
from selm_local.controllers.job_index_state import IndexState, creatable_indexes, index_state
from selm_local.controllers.job_pods import build_pod, is_tracked, pods_to_remove
from selm_local.controllers.job_policy import completion_index, is_pod_failed, match_failure_policy
from selm_local.controllers.objects import (
    Obj,
    condition,
    condition_is,
    format_time,
    is_deleting,
    is_terminal,
    meta,
    parse_time,
    pod_phase,
    uid_of,
)

MAX_PODS_PER_SYNC = 500


@dataclass(frozen=True)
class Plan:
    """Effects in the order in which they must happen.

    First `delete` (where `untrack_deleted`, each pod's tracking finalizer goes first, so that it is never counted),
    then `create`, then the status write, then the tracking finalizers of `untrack` go: a pod is in the status's
    `uncountedTerminatedPods` before it can vanish, so a crash between any two effects counts nothing twice.
    """

    status: Obj
    delete: tuple[Obj, ...] = ()
    untrack_deleted: bool = False
    create: tuple[Obj, ...] = ()
    untrack: tuple[Obj, ...] = ()
    events: tuple[JobEvent, ...] = ()
    requeue: timedelta | None = None


def is_finished(job: Obj) -> bool:
    return condition_is(job, "Complete") or condition_is(job, "Failed")


def plan(job: Obj, pods: list[Obj], now: datetime) -> Plan | None:
    """Decide about one Job.

    Args:
        job: as stored. pods: those whose controller reference names its uid, in any order. now: aware, UTC.

    Returns:
        The effects with the status as it is to be written; None where the Job is finished.
    """
    if is_finished(job):
        return None
    pods = sorted(pods, key=lambda pod: (meta(pod)["creationTimestamp"], meta(pod)["name"]))
    active = [pod for pod in pods if not is_terminal(pod) and not is_deleting(pod)]
    draft = Draft(job, pods, now, copy.deepcopy(job.get("status") or {}), active)
    settle_uncounted(draft)
    if "startTime" not in draft.status and not _is_suspended(job):
        draft.status["startTime"] = format_time(now)
    succeeded = _finish_if_due(draft)
    delete: list[Obj] = []
    create: list[Obj] = []
    untrack_deleted = False
    if draft.finished is not None:
        delete = list(draft.active)
    elif not is_deleting(job):
        delete, create = _manage(draft, succeeded)
        untrack_deleted = True
        left = len(active) - len(delete) + len(create)
        if _is_complete(job, succeeded, left):
            draft.finished = make_condition(
                "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods", now
            )
        else:
            _note_suspension(draft)
    untrack = _track(draft, [] if not untrack_deleted else delete)
    write_counts(draft, delete, create)
    conclude(draft)
    draft.events.extend(JobEvent("Normal", "SuccessfulDelete", f"Deleted pod: {meta(p)['name']}") for p in delete)
    return Plan(
        status=draft.status,
        delete=tuple(delete),
        untrack_deleted=untrack_deleted,
        create=tuple(create),
        untrack=tuple(untrack),
        events=tuple(draft.events),
        requeue=draft.requeue,
    )


def _is_suspended(job: Obj) -> bool:
    return bool(job["spec"].get("suspend"))


def _is_indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def _new_finished(draft: Draft) -> tuple[list[Obj], list[Obj]]:
    """Succeeded and failed pods that the status does not count in any form yet."""
    uncounted = draft.status["uncountedTerminatedPods"]
    succeeded: list[Obj] = []
    failed: list[Obj] = []
    for pod in draft.pods:
        if not is_tracked(pod) or not _has_valid_index(draft.job, pod):
            continue
        if pod_phase(pod) == "Succeeded" and uid_of(pod) not in uncounted.get("succeeded", []):
            succeeded.append(pod)
        elif is_pod_failed(pod, draft.job) and uid_of(pod) not in uncounted.get("failed", []):
            failed.append(pod)
    return succeeded, failed


def _has_valid_index(job: Obj, pod: Obj) -> bool:
    if not _is_indexed(job):
        return True
    index = completion_index(pod)
    return index is not None and index < int(job["spec"]["completions"])


def _finish_if_due(draft: Draft) -> int:
    """Set `finished` where the Job's fate is sealed. Returns the successes including uncounted ones."""
    job, status, now = draft.job, draft.status, draft.now
    spec = job["spec"]
    uncounted = status["uncountedTerminatedPods"]
    new_succeeded, new_failed = _new_finished(draft)
    succeeded = int(status.get("succeeded", 0)) + len(new_succeeded) + len(uncounted.get("succeeded", []))
    counted = [pod for pod in new_failed if match_failure_policy(job, pod).counts]
    failed = int(status.get("failed", 0)) + len(counted) + len(uncounted.get("failed", []))
    if condition_is(job, "SuccessCriteriaMet"):
        draft.finished = condition(job, "SuccessCriteriaMet")
    elif condition_is(job, "FailureTarget"):
        draft.finished = condition(job, "FailureTarget")
    elif (message := job_policy.fail_job_message(job, draft.pods)) is not None:
        draft.finished = make_condition("FailureTarget", "PodFailurePolicy", message, now)
    elif failed > int(spec["backoffLimit"]) or _restarts_exceed(job, draft.pods):
        draft.finished = make_condition(
            "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit", now
        )
    elif (deadline := spec.get("activeDeadlineSeconds")) is not None and not _is_suspended(job):
        left = timedelta(seconds=int(deadline)) - (now - parse_time(status["startTime"]))
        if left <= timedelta(0):
            draft.finished = make_condition(
                "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline", now
            )
        else:
            draft.wait(left)
    if _is_indexed(job):
        draft.indexes = index_state(job, draft.pods, draft.active, status)
        succeeded = len(draft.indexes.succeeded)
        draft.finished = draft.finished or _finish_by_indexes(draft, draft.indexes)
    return succeeded


def _finish_by_indexes(draft: Draft, state: IndexState) -> Obj | None:
    spec, now = draft.job["spec"], draft.now
    if state.failed is not None:
        limit = spec.get("maxFailedIndexes")
        if limit is not None and len(state.failed) > int(limit):
            text = "Job has exceeded the specified maximal number of failed indexes"
            return make_condition("FailureTarget", "MaxFailedIndexesExceeded", text, now)
        if state.failed and len(state.failed) + len(state.succeeded) >= int(spec["completions"]):
            return make_condition("FailureTarget", "FailedIndexes", "Job has failed indexes", now)
    if (message := job_policy.match_success_policy(draft.job, state.succeeded)) is not None:
        return make_condition("SuccessCriteriaMet", "SuccessPolicy", message, now)
    return None


def _restarts_exceed(job: Obj, pods: list[Obj]) -> bool:
    """For restartPolicy OnFailure the containers' restarts are the Job's failures."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in pods:
        if pod_phase(pod) in ("Pending", "Running"):
            status = pod.get("status") or {}
            for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
                restarts += int(one.get("restartCount", 0))
    limit = int(job["spec"]["backoffLimit"])
    return restarts > 0 if limit == 0 else restarts >= limit


def _manage(draft: Draft, succeeded: int) -> tuple[list[Obj], list[Obj]]:
    """Pods to delete and to create so that as many run as should. Never both in one pass: deletion goes first."""
    job, active = draft.job, draft.active
    if _is_suspended(job):
        return list(active), []
    spec = job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    if spec.get("completions") is None:
        wanted = len(active) if succeeded > 0 else parallelism
    else:
        wanted = max(min(int(spec["completions"]) - succeeded, parallelism), 0)
    doomed = pods_to_remove(job, active, max(len(active) - wanted, 0))[:MAX_PODS_PER_SYNC]
    if doomed:
        return doomed, []
    missing = wanted - len(active)
    if job_policy.replaces_only_failed(job):
        missing -= sum(1 for pod in draft.pods if is_deleting(pod) and not is_terminal(pod))
    missing = min(missing, MAX_PODS_PER_SYNC)
    if missing <= 0:
        return [], []
    if spec.get("backoffLimitPerIndex") is None:
        delay = job_backoff.remaining_for_job(job, draft.pods, draft.now)
        if delay > timedelta(0):
            draft.wait(delay)
            return [], []
    if draft.indexes is None:
        return [], [build_pod(job, None) for _ in range(missing)]
    indexes, delay = creatable_indexes(job, draft.pods, draft.active, draft.indexes, missing, draft.now)
    if delay > timedelta(0):  # those that may start do; the others have their time
        draft.wait(delay)
    return [], [build_pod(job, index, draft.indexes.delayed.get(index)) for index in indexes]


def _is_complete(job: Obj, succeeded: int, active: int) -> bool:
    completions = job["spec"].get("completions")
    enough = succeeded > 0 if completions is None else succeeded >= int(completions)
    return enough and active == 0


def _note_suspension(draft: Draft) -> None:
    """Keep the Suspended condition in step with `spec.suspend`; a resumed Job starts anew."""
    if _is_suspended(draft.job):
        if set_condition(draft, "Suspended", "True", "JobSuspended", "Job suspended"):
            draft.events.append(JobEvent("Normal", "Suspended", "Job suspended"))
        draft.status.pop("startTime", None)
    elif condition(draft.job, "Suspended") is not None and set_condition(
        draft, "Suspended", "False", "JobResumed", "Job resumed"
    ):
        draft.events.append(JobEvent("Normal", "Resumed", "Job resumed"))
        draft.status["startTime"] = format_time(draft.now)


def _track(draft: Draft, uncounted_deletions: list[Obj]) -> list[Obj]:
    """Note newly ended pods in the status and return those whose tracking finalizer may then go."""
    job, status = draft.job, draft.status
    uncounted = status["uncountedTerminatedPods"]
    done_before = set(draft.indexes.succeeded_before) if draft.indexes else set()
    delayed = {uid_of(pod) for pod in draft.indexes.delayed.values()} if draft.indexes else set()
    skip = {uid_of(pod) for pod in uncounted_deletions}
    failing = draft.finished is not None and draft.finished["type"] != "SuccessCriteriaMet"
    untrack: list[Obj] = []
    for pod in draft.pods:
        if not is_tracked(pod) or uid_of(pod) in skip:
            continue
        failed = is_pod_failed(pod, job)
        sealed = is_deleting(job) or draft.finished is not None or pod_phase(pod) == "Succeeded"
        if not sealed and (not failed or uid_of(pod) in delayed):
            continue
        untrack.append(pod)
        if pod_phase(pod) == "Succeeded" and uid_of(pod) not in uncounted.get("failed", []):
            index = completion_index(pod)
            if draft.indexes is not None:
                # The index alone keeps a success from being counted twice.
                if index is not None and index < int(job["spec"]["completions"]) and index not in done_before:
                    draft.indexes.succeeded.add(index)
            elif uid_of(pod) not in uncounted.get("succeeded", []):
                uncounted.setdefault("succeeded", []).append(uid_of(pod))
        elif (failed or failing) and _has_valid_index(job, pod) and uid_of(pod) not in uncounted.get("failed", []):
            # Once the Job has failed, each of its pods that had not ended counts as failed.
            if not match_failure_policy(job, pod).counts:
                continue
            uncounted.setdefault("failed", []).append(uid_of(pod))
    return untrack
