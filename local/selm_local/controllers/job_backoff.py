"""When a Job may replace failed pods: exponential back-off, derived from the pods themselves.

Kubernetes keeps this record in memory; here it is computed from the pods that are still there (a Job's failed pods
stay until the Job goes), so that a restart of the controller forgets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from selm_local.controllers.job_policy import is_pod_failed
from selm_local.controllers.objects import Obj, meta, parse_time, pod_phase

BASE = timedelta(seconds=10)
LIMIT = timedelta(minutes=10)


def finish_time(pod: Obj) -> datetime:
    """When a pod ended: its last container's end, else the Ready condition's change, the deletion, the creation."""
    status = pod.get("status") or {}
    ends = []
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        ended = (one.get("state") or {}).get("terminated") or {}
        if ended.get("finishedAt"):
            ends.append(parse_time(ended["finishedAt"]))
    if ends:
        return max(ends)
    for one in status.get("conditions") or []:
        if one["type"] == "Ready" and one["status"] == "False" and one.get("lastTransitionTime"):
            return parse_time(one["lastTransitionTime"])
    return parse_time(meta(pod).get("deletionTimestamp") or meta(pod)["creationTimestamp"])


def remaining(failures: int, last: datetime | None, now: datetime) -> timedelta:
    """How long to wait after `failures` failures in a row, the last at `last`: 10 s, 20 s, 40 s … at most 10 min."""
    if failures == 0 or last is None:
        return timedelta(0)
    # 2**6 * 10 s is above the limit: the exponent is cut so that no large number is made.
    delay = min(BASE * (1 << min(failures - 1, 6)), LIMIT)
    return max(delay - (now - last), timedelta(0))


def remaining_for_job(job: Obj, pods: Iterable[Obj], now: datetime) -> timedelta:
    """The delay before the Job may create pods: counts the failures since its last success."""
    last_success: datetime | None = None
    failed: list[datetime] = []
    for pod in pods:
        if pod_phase(pod) == "Succeeded":
            moment = finish_time(pod)
            last_success = moment if last_success is None else max(last_success, moment)
        elif pod_phase(pod) == "Failed" or is_pod_failed(pod, job):
            failed.append(finish_time(pod))
    counted = [moment for moment in failed if last_success is None or moment > last_success]
    return remaining(len(counted), max(counted, default=None), now)
