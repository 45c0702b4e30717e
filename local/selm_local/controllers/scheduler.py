"""The scheduler's loop: binds pending pods to the node as far as they fit, and says why others wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import NODES, PODS
from selm_local.controllers.events import EventRecorder
from selm_local.controllers.informer import Informer, Key, WorkQueue
from selm_local.controllers.objects import Obj, condition, format_time, name_of, namespace_of
from selm_local.controllers.scheduling import place

_ALL: Key = ("", "")


class Scheduler:
    """Binds pods to the one node."""

    def __init__(
        self, registry: Registry, node: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._registry = registry
        self._node = node
        self._clock = clock
        self._events = EventRecorder(registry, "default-scheduler", clock)
        # Every change may make room: the whole is decided anew, in one pass for a burst of changes.
        self._queue = WorkQueue("scheduling", self._pass)
        self._pods = Informer(registry, PODS, lambda _old, _new: self._queue.add(_ALL))
        self._nodes = Informer(registry, NODES, lambda _old, _new: self._queue.add(_ALL))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for task in (self._pods.run(), self._nodes.run(), self._queue.run()):
                group.create_task(task)

    async def _pass(self, _: Key) -> None:
        pods, _version = await self._registry.list(PODS)
        try:
            node = await self._registry.get(NODES, None, self._node)
        except ApiError as error:
            if error.code == 404:
                return  # the node has not announced itself yet; its appearance wakes this queue
            raise
        placement = place(pods, node)
        for pod in placement.bind:
            await self._bind(pod)
        for pod, message in placement.waiting:
            await self._explain(pod, message)

    async def _bind(self, pod: Obj) -> None:
        scheduled = self._condition("True", None, None)
        kept = [one for one in (pod.get("status") or {}).get("conditions") or [] if one["type"] != "PodScheduled"]
        pod["spec"]["nodeName"] = self._node
        pod.setdefault("status", {})["conditions"] = [*kept, scheduled]
        try:
            await self._registry.update(PODS, namespace_of(pod), name_of(pod), pod, subresource="binding")
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return  # it changed meanwhile: its change wakes this queue
        where = f"{namespace_of(pod)}/{name_of(pod)}"
        await self._events.record(pod, "Normal", "Scheduled", f"Successfully assigned {where} to {self._node}")

    async def _explain(self, pod: Obj, message: str) -> None:
        old = condition(pod, "PodScheduled")
        if old is not None and (old["status"], old.get("message")) == ("False", message):
            return
        kept = [one for one in (pod.get("status") or {}).get("conditions") or [] if one["type"] != "PodScheduled"]
        waiting = self._condition("False", "Unschedulable", message)
        if old is not None and old["status"] == "False":
            waiting["lastTransitionTime"] = old["lastTransitionTime"]
        try:
            await self._registry.patch(
                PODS,
                namespace_of(pod),
                name_of(pod),
                {"status": {"conditions": [*kept, waiting]}},
                subresource="status",
            )
        except ApiError as error:
            if error.code != 404:
                raise
            return
        await self._events.record(pod, "Warning", "FailedScheduling", message)

    def _condition(self, status: str, reason: str | None, message: str | None) -> Obj:
        found: Obj = {
            "type": "PodScheduled",
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": format_time(self._clock()),
        }
        if reason:
            found["reason"] = reason
        if message:
            found["message"] = message
        return found
