"""The Deployment controller: one ReplicaSet a template, sized as `rollout` says.

Source: kubernetes/pkg/controller/deployment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from selm_local.controllers.events import EventRecorder
from selm_local.controllers.informer import Informer, Key, WorkQueue
from selm_local.controllers.objects import (
    Obj,
    condition,
    controller_of,
    is_deleting,
    is_terminal,
    meta,
    name_of,
    namespace_of,
    uid_of,
)
from selm_local.controllers.rollout import (
    REVISION,
    bare_template,
    new_replica_set,
    revision_of,
    sizes,
    status_of,
)


class DeploymentController:
    """One instance a cluster."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._registry = registry
        self._clock = clock
        self._events = EventRecorder(registry, "deployment-controller", clock)
        self._queue = WorkQueue("deployment", self._sync)
        self._deployments = Informer(registry, DEPLOYMENTS, self._changed)
        self._sets = Informer(registry, REPLICA_SETS, self._set_changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for task in (self._deployments.run(), self._sets.run(), self._queue.run()):
                group.create_task(task)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        one = new or old or {}
        self._queue.add((namespace_of(one), name_of(one)))

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        one = new or old or {}
        owner = controller_of(one)
        if owner is not None and owner["kind"] == "Deployment":
            self._queue.add((namespace_of(one), owner["name"]))

    async def _sync(self, key: Key) -> float | None:
        try:
            deployment = await self._registry.get(DEPLOYMENTS, *key)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        found, _ = await self._registry.list(REPLICA_SETS, key[0])
        owned = [one for one in found if (controller_of(one) or {}).get("uid") == uid_of(deployment)]
        new = next((one for one in owned if bare_template(one) == deployment["spec"]["template"]), None)
        if is_deleting(deployment):
            return None
        paused = bool(deployment["spec"].get("paused"))
        if new is None and not paused:
            new = await self._begin(deployment, owned)
        old = [one for one in owned if new is None or uid_of(one) != uid_of(new)]
        if new is not None and not paused:
            await self._resize(deployment, new, old)
            await self._forget(deployment, old)
        await self._write(deployment, new, old)
        progressing = condition(deployment, "Progressing")
        waits = progressing is not None and progressing["reason"] == "ReplicaSetUpdated"
        # Recreate waits for pods to vanish, and a deadline passes without any change of a ReplicaSet.
        return 1.0 if waits and not paused else None

    async def _begin(self, deployment: Obj, owned: list[Obj]) -> Obj:
        """The ReplicaSet of a template that has none yet."""
        revision = 1 + max((revision_of(one) for one in owned), default=0)
        return await self._registry.create(
            REPLICA_SETS, namespace_of(deployment), new_replica_set(deployment, revision)
        )

    async def _resize(self, deployment: Obj, new: Obj, old: list[Obj]) -> None:
        newest = 1 + max((revision_of(one) for one in old), default=0)
        if revision_of(new) < newest:  # an old template is wanted again
            change = {"metadata": {"annotations": {REVISION: str(newest)}}}
            new |= await self._registry.patch(REPLICA_SETS, namespace_of(new), name_of(new), change)
        if (meta(deployment).get("annotations") or {}).get(REVISION) != str(revision_of(new)):
            change = {"metadata": {"annotations": {REVISION: str(revision_of(new))}}}
            deployment |= await self._registry.patch(DEPLOYMENTS, namespace_of(deployment), name_of(deployment), change)
        left = await self._pods_left(old) if deployment["spec"]["strategy"]["type"] == "Recreate" else False
        wanted = sizes(deployment, new, old, left)
        for one in [new, *old]:
            now, then = int(one["spec"]["replicas"]), wanted[name_of(one)]
            if now == then:
                continue
            size = {"spec": {"replicas": then}}
            one |= await self._registry.patch(REPLICA_SETS, namespace_of(one), name_of(one), size)
            how = "up" if then > now else "down"
            text = f"Scaled {how} replica set {name_of(one)} from {now} to {then}"
            await self._events.record(deployment, "Normal", "ScalingReplicaSet", text)

    async def _pods_left(self, sets: list[Obj]) -> bool:
        uids = {uid_of(one) for one in sets}
        for namespace in {namespace_of(one) for one in sets}:
            pods, _ = await self._registry.list(PODS, namespace)
            if any((controller_of(pod) or {}).get("uid") in uids and not is_terminal(pod) for pod in pods):
                return True
        return False

    async def _forget(self, deployment: Obj, old: list[Obj]) -> None:
        """Delete old ReplicaSets beyond those that a rollback may want."""
        idle = [
            one
            for one in old
            if not one["spec"]["replicas"] and not (one.get("status") or {}).get("replicas") and not is_deleting(one)
        ]
        surplus = len(idle) - int(deployment["spec"]["revisionHistoryLimit"])
        for one in sorted(idle, key=revision_of)[: max(surplus, 0)]:
            await self._registry.delete(REPLICA_SETS, namespace_of(one), name_of(one), uid=uid_of(one))

    async def _write(self, deployment: Obj, new: Obj | None, old: list[Obj]) -> None:
        status = status_of(deployment, new, old, self._clock())
        if status != (deployment.get("status") or {}):
            change = {**deployment, "status": status}
            deployment |= await self._registry.update(
                DEPLOYMENTS, namespace_of(deployment), name_of(deployment), change, subresource="status"
            )
