"""The Job controller's loop: reads a Job and its pods, asks `job_plan`, and carries the plan out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import JOBS, PODS
from selm_local.controllers.events import EventRecorder
from selm_local.controllers.informer import Informer, Key, WorkQueue
from selm_local.controllers.job_plan import Plan, is_finished, plan
from selm_local.controllers.job_pods import TRACKING_FINALIZER, is_tracked
from selm_local.controllers.objects import (
    Obj,
    condition,
    controller_of,
    is_deleting,
    is_terminal,
    meta,
    name_of,
    namespace_of,
    parse_time,
    uid_of,
)

BATCH_SECONDS = 1.0
"""So long a Job waits for a pod that has ended and been counted to vanish, before it looks again
(kube-controller-manager's syncJobBatchPeriod): a finished Job's deleted pods are then gone."""
_log = logging.getLogger(__name__)


class JobController:
    """Runs Jobs to their end. One instance a cluster."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._registry = registry
        self._clock = clock
        self._events = EventRecorder(registry, "job-controller", clock)
        self._jobs = Informer(registry, JOBS, self._job_changed)
        self._pods = Informer(registry, PODS, self._pod_changed)
        self._queue = WorkQueue("job", self._sync)
        self._orphans = WorkQueue("orphan pod", self._release_orphan)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for task in (self._jobs.run(), self._pods.run(), self._queue.run(), self._orphans.run()):
                group.create_task(task)

    def _job_changed(self, old: Obj | None, new: Obj | None) -> None:
        job = new or old or {}
        self._queue.add((namespace_of(job), name_of(job)))
        if new is None:
            for pod in self._pods.objects.values():
                self._note_orphan(pod)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        for pod in (old, new):
            owner = controller_of(pod) if pod else None
            if pod is not None and owner is not None and owner["kind"] == "Job":
                key = (namespace_of(pod), owner["name"])
                if new is not None and is_deleting(new) and is_terminal(new) and not is_tracked(new):
                    self._queue.add_after(key, BATCH_SECONDS)
                else:
                    self._queue.add(key)
        if new is not None:
            self._note_orphan(new)

    def _note_orphan(self, pod: Obj) -> None:
        if is_tracked(pod):
            self._orphans.add((namespace_of(pod), name_of(pod)))

    async def _release_orphan(self, key: Key) -> None:
        """Take the tracking finalizer off a pod whose Job is gone: nobody will count it any more."""
        try:
            pod = await self._registry.get(PODS, *key)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        owner = controller_of(pod)
        if owner is not None:
            try:
                job = await self._registry.get(JOBS, key[0], owner["name"])
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                if uid_of(job) == owner["uid"]:
                    return
        if is_tracked(pod):
            await self._untrack(pod)

    async def _sync(self, key: Key) -> float | None:
        try:
            job = await self._registry.get(JOBS, *key)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        if job["spec"].get("managedBy", "kubernetes.io/job-controller") != "kubernetes.io/job-controller":
            return None
        if is_finished(job):
            return await self._expire(job)
        selector = f"batch.kubernetes.io/controller-uid={uid_of(job)}"
        labelled, _ = await self._registry.list(PODS, key[0], label_selector=selector)
        pods = [pod for pod in labelled if (controller_of(pod) or {}).get("uid") == uid_of(job)]
        made = plan(job, pods, self._clock())
        if made is None:
            return None
        await self._carry_out(job, made)
        return made.requeue.total_seconds() if made.requeue is not None else None

    async def _carry_out(self, job: Obj, made: Plan) -> None:
        """The plan's effects in their order. Any of them may be the last before a crash."""
        for pod in made.delete:
            if made.untrack_deleted and is_tracked(pod):
                await self._untrack(pod)
            await _unless_gone(self._registry.delete(PODS, namespace_of(pod), name_of(pod), uid=uid_of(pod)))
        failure: ApiError | None = None
        created: list[str] = []
        for pod in made.create:
            try:
                created.append(name_of(await self._registry.create(PODS, namespace_of(job), pod)))
            except ApiError as error:
                failure = error
                break
        status = made.status
        if failure is not None:
            status = {**status, "active": int(status.get("active", 0)) - len(made.create) + len(created)}
        if status != (job.get("status") or {}):
            # With the version that was read: another's write in between makes this pass void, not half right.
            await self._registry.update(
                JOBS, namespace_of(job), name_of(job), {**job, "status": status}, subresource="status"
            )
        for pod in made.untrack:
            await self._untrack(pod)
        for name in created:
            await self._events.record(job, "Normal", "SuccessfulCreate", f"Created pod: {name}")
        for event in made.events:
            await self._events.record(job, event.type, event.reason, event.message)
        if failure is not None:
            await self._events.record(job, "Warning", "FailedCreate", f"Error creating: {failure.message}")
            raise failure

    async def _untrack(self, pod: Obj) -> None:
        finalizers = [one for one in meta(pod).get("finalizers") or [] if one != TRACKING_FINALIZER]
        change = {"metadata": {"uid": uid_of(pod), "finalizers": finalizers or None}}
        await _unless_gone(self._registry.patch(PODS, namespace_of(pod), name_of(pod), change))

    async def _expire(self, job: Obj) -> float | None:
        """Delete a finished Job when its ttlSecondsAfterFinished has passed."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None or is_deleting(job):
            return None
        ended = condition(job, "Complete") or condition(job, "Failed")
        assert ended is not None
        left = parse_time(ended["lastTransitionTime"]) + timedelta(seconds=int(ttl)) - self._clock()
        if left > timedelta(0):
            return left.total_seconds()
        await _unless_gone(
            self._registry.delete(JOBS, namespace_of(job), name_of(job), propagation="Foreground", uid=uid_of(job))
        )
        return None


async def _unless_gone(effect: Awaitable[Obj]) -> None:
    """Await an effect on an object that may have vanished, or been replaced by another of its name, meanwhile."""
    try:
        await effect
    except ApiError as error:
        if error.code != 404 and not (error.code == 409 and "UID" in error.message):
            raise
