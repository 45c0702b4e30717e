"""The node's agent (kubelet): announces the node, runs its pods, and keeps their names resolvable.

What a container is not here: it shares the machine's network and process ids, runs as the user who started the
cluster (`securityContext` is not applied), and gets no share of cpu (requests count for placement alone). Memory
limits are watched, see the supervisor. Secrets and ConfigMaps in volumes stay as they were at the pod's start, and
`sizeLimit` of an emptyDir is not enforced. Lifecycle hooks, gRPC probes and restartable init
containers are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import time
from pathlib import Path

import psutil

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.resources import NODES, PODS, SERVICES
from selm_local.controllers.informer import Informer
from selm_local.controllers.objects import Obj, format_time, uid_of
from selm_local.node.context import NodeContext
from selm_local.node.hosts import service_names
from selm_local.node.pod_worker import PodWorker
from selm_local.node.runs import PodFolder
from selm_local.node.sources import NODE_ADDRESS
from selm_local.state import read_json

HEARTBEAT_SECONDS = 60.0
HOSTS_DELAY = 0.02
_log = logging.getLogger(__name__)


class NodeAgent:
    """All pods of one node. isolation_note: why containers have no mounts of their own, where they have none."""

    def __init__(self, context: NodeContext, isolation_note: str = "") -> None:
        self._context = context
        self._note = isolation_note
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pods = Informer(context.registry, PODS, self._pod_changed)
        self._services = Informer(context.registry, SERVICES, lambda _old, _new: self._names_changed())
        self._hosts_timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Work for ever. Cancelled, it leaves containers running: the next agent finds them."""
        self._restore_devices()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._heartbeat())
                group.create_task(self._services.run())
                group.create_task(self._pods.run())
                group.create_task(self._sweep())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def path(self, pod: Obj, container: str) -> Path:
        """Where the log of the container's newest run is (`apiserver.logs.PodLogs`)."""
        folder = PodFolder(self._context.state.pods / uid_of(pod))
        last = folder.last_run(container)
        return (last[1] if last else folder.run(container, 0)).log

    # --- pods

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        if pod["spec"].get("nodeName") == self._context.name:
            uid = uid_of(pod)
            worker = self._workers.get(uid)
            if worker is not None:
                worker.update(new)
            elif new is not None:
                self._adopt(uid, new)
        self._names_changed()

    def _adopt(self, uid: str, pod: Obj) -> None:
        worker = self._workers[uid] = PodWorker(self._context, pod)
        task = asyncio.create_task(worker.run(), name=f"pod {uid}")
        self._tasks[uid] = task

        def forget(_: asyncio.Task[None]) -> None:
            self._workers.pop(uid, None)
            self._tasks.pop(uid, None)

        task.add_done_callback(forget)

    async def _sweep(self) -> None:
        """Once the pods are known: end and remove what belongs to pods that vanished while no agent ran."""
        await self._pods.synced.wait()
        known = {uid_of(pod) for pod in self._pods.objects.values()}
        for path in list(self._context.state.pods.iterdir()):
            if path.name in known or path.name in self._workers:
                continue
            _log.info("removing what is left of pod %s", path.name)
            folder = PodFolder(path)
            await asyncio.to_thread(folder.kill, lambda: time.sleep(0.05))
            folder.remove()
            self._context.devices.release(path.name)

    def _restore_devices(self) -> None:
        for path in self._context.state.pods.iterdir():
            record = read_json(path / "pod.json")
            if record and record.get("gpus"):
                self._context.devices.restore(path.name, record["gpus"])

    # --- names

    def _names_changed(self) -> None:
        """Recompute the resolvable names soon; a burst of changes costs one computation."""
        if self._hosts_timer is None:
            self._hosts_timer = asyncio.get_running_loop().call_later(HOSTS_DELAY, self._refresh_names)

    def _refresh_names(self) -> None:
        self._hosts_timer = None
        names = service_names(self._pods.objects.values(), self._services.objects.values())
        if names == self._context.names:
            return
        self._context.names = names
        for worker in self._workers.values():
            if worker.folder.hosts.exists():
                worker.refresh_hosts()

    # --- the node itself

    async def _heartbeat(self) -> None:
        while True:
            await self._announce()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _announce(self) -> None:
        registry, name = self._context.registry, self._context.name
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
        with contextlib.suppress(ApiError):
            await registry.create(NODES, None, node)
        old = await registry.get(NODES, None, name)
        await registry.patch(NODES, None, name, {"status": self._status(old)}, subresource="status")

    def _status(self, old: Obj) -> Obj:
        now = format_time(self._context.clock())
        before = {one["type"]: one for one in (old.get("status") or {}).get("conditions") or []}
        isolated = self._context.isolation != "none"
        conditions = [
            ("Ready", "True", "NodeReady", "the node runs pods as processes of this machine"),
            (
                "ContainersIsolated",
                "True" if isolated else "False",
                "MountNamespaces" if isolated else "NotPermitted",
                f"containers have mounts of their own ({self._context.isolation})"
                if isolated
                else "containers have no mounts of their own: paths in their commands and variables are replaced "
                f"instead ({self._note})",
            ),
        ]
        return {
            "capacity": self._context.allocatable,
            "allocatable": self._context.allocatable,
            "addresses": [
                {"type": "InternalIP", "address": NODE_ADDRESS},
                {"type": "Hostname", "address": self._context.name},
            ],
            "conditions": [
                {
                    "type": type_,
                    "status": status,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": before[type_]["lastTransitionTime"]
                    if type_ in before and before[type_]["status"] == status
                    else now,
                }
                for type_, status, reason, message in conditions
            ],
            "nodeInfo": {
                "architecture": platform.machine(),
                "bootID": "",
                "containerRuntimeVersion": "process://1",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.36.0-selm",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": platform.platform(),
                "systemUUID": "",
            },
        }


def machine_resources() -> dict[str, str]:
    """cpu and memory of this machine as quantities."""
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{psutil.virtual_memory().total // 1024}Ki"}
