"""The ReplicaSet controller: as many pods of a template as are wanted, and a status that counts them.

Source: kubernetes/pkg/controller/replicaset.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import PODS, REPLICA_SETS
from selm_local.controllers.events import EventRecorder
from selm_local.controllers.informer import Informer, Key, WorkQueue
from selm_local.controllers.objects import (
    Obj,
    condition,
    condition_is,
    controller_of,
    format_time,
    is_deleting,
    is_terminal,
    meta,
    name_of,
    namespace_of,
    parse_time,
    reference_to,
    uid_of,
)


def pod_of(owner: Obj) -> Obj:
    """A pod of a ReplicaSet's template, owned by it."""
    template = copy.deepcopy(owner["spec"]["template"])
    metadata = template.get("metadata") or {}
    kept = {name: metadata[name] for name in ("labels", "annotations", "finalizers") if name in metadata}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "generateName": f"{name_of(owner)}-", "ownerReferences": [reference_to(owner)]},
        "spec": template["spec"],
    }


def available_since(pod: Obj, min_ready_seconds: int, now: datetime) -> tuple[bool, timedelta | None]:
    """Whether a pod has been ready for long enough, and if only time lacks, how much of it."""
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return False, None
    left = parse_time(ready["lastTransitionTime"]) + timedelta(seconds=min_ready_seconds) - now
    return (True, None) if not min_ready_seconds or left <= timedelta(0) else (False, left)


def first_to_go(pods: list[Obj]) -> list[Obj]:
    """The pods in the order in which superfluous ones are deleted: what runs least goes first."""

    def advancement(pod: Obj) -> tuple[bool, bool, float]:
        ready = condition_is(pod, "Ready")
        return bool(pod["spec"].get("nodeName")), ready, -parse_time(meta(pod)["creationTimestamp"]).timestamp()

    return sorted(pods, key=advancement)


class ReplicaSetController:
    """One instance a cluster."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._registry = registry
        self._clock = clock
        self._events = EventRecorder(registry, "replicaset-controller", clock)
        self._queue = WorkQueue("replicaset", self._sync)
        self._sets = Informer(registry, REPLICA_SETS, self._set_changed)
        self._pods = Informer(registry, PODS, self._pod_changed)
        self._of: dict[str, set[Key]] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for task in (self._sets.run(), self._pods.run(), self._queue.run()):
                group.create_task(task)

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        one = new or old or {}
        self._queue.add((namespace_of(one), name_of(one)))

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "ReplicaSet":
            return
        keys = self._of.setdefault(owner["uid"], set())
        key = (namespace_of(pod), name_of(pod))
        if new is None:
            keys.discard(key)
            if not keys:
                del self._of[owner["uid"]]
        else:
            keys.add(key)
        self._queue.add((namespace_of(pod), owner["name"]))

    async def _sync(self, key: Key) -> float | None:
        await self._pods.synced.wait()
        try:
            one = await self._registry.get(REPLICA_SETS, *key)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        # Read afresh: a cache that lags behind would make pods twice.
        pods = [await self._pod(pod_key) for pod_key in sorted(self._of.get(uid_of(one), ()))]
        active = [pod for pod in pods if pod is not None and not is_terminal(pod) and not is_deleting(pod)]
        failure = None if is_deleting(one) else await self._scale(one, active)
        return await self._write(one, active, failure)

    async def _pod(self, key: Key) -> Obj | None:
        try:
            return await self._registry.get(PODS, *key)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def _scale(self, one: Obj, active: list[Obj]) -> ApiError | None:
        """Create or delete what is between what is and what is wanted. Returns why nothing could be created."""
        wanted = one["spec"]["replicas"]
        for pod in first_to_go(active)[: max(len(active) - wanted, 0)]:
            await self._registry.delete(PODS, namespace_of(pod), name_of(pod), uid=uid_of(pod))
            await self._events.record(one, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        for _ in range(wanted - len(active)):
            try:
                made = await self._registry.create(PODS, namespace_of(one), pod_of(one))
            except ApiError as error:
                await self._events.record(one, "Warning", "FailedCreate", f"Error creating: {error.message}")
                return error
            self._of.setdefault(uid_of(one), set()).add((namespace_of(made), name_of(made)))
            await self._events.record(one, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")
        return None

    async def _write(self, one: Obj, active: list[Obj], failure: ApiError | None) -> float | None:
        now, least = self._clock(), one["spec"].get("minReadySeconds") or 0
        since = [available_since(pod, least, now) for pod in active]
        labels = (one["spec"]["template"]["metadata"].get("labels") or {}).items()
        counts = {
            "fullyLabeledReplicas": sum(labels <= (meta(pod).get("labels") or {}).items() for pod in active),
            "readyReplicas": sum(condition_is(pod, "Ready") for pod in active),
            "availableReplicas": sum(yes for yes, _ in since),
        }
        status: Obj = {"replicas": len(active), **{k: v for k, v in counts.items() if v}}
        status["observedGeneration"] = meta(one)["generation"]
        if failure is not None:
            old = condition(one, "ReplicaFailure")
            moment = old["lastTransitionTime"] if old else format_time(now)
            what = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure.message}
            status["conditions"] = [{**what, "lastTransitionTime": moment}]
        if status != (one.get("status") or {}):
            change = {**one, "status": status}
            await self._registry.update(REPLICA_SETS, namespace_of(one), name_of(one), change, subresource="status")
        if failure is not None:
            raise failure  # tried again, later and later
        waits = [left.total_seconds() for _, left in since if left is not None]
        return min(waits) if waits else None
