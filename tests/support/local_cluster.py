"""An embedded cluster inside the test's own process: registry in memory, real controllers, real processes as pods."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import JOBS, PODS
from selm_local.controllers.deployments import DeploymentController
from selm_local.controllers.events import EventRecorder
from selm_local.controllers.garbage import GarbageCollector
from selm_local.controllers.jobs import JobController
from selm_local.controllers.namespaces import NamespaceController
from selm_local.controllers.quotas import QuotaController
from selm_local.controllers.replicasets import ReplicaSetController
from selm_local.controllers.scheduler import Scheduler
from selm_local.node.agent import NodeAgent
from selm_local.node.context import NodeContext, container_environment
from selm_local.node.devices import GPU, Devices
from selm_local.node.isolation import Isolation, detect
from selm_local.node.runs import PodFolder
from selm_local.state import StateDir

NODE = "test-node"


def make_pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A pod with one container `main` that runs a shell script; keys of `container` go into the container."""
    container = {"name": "main", "image": "i", "command": ["/bin/sh", "-c", script], **spec.pop("container", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **spec.pop("metadata", {})},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 2,
            "containers": [container],
            **spec,
        },
    }


class LocalCluster:
    """Handles to a running cluster. `restart_node` ends the node's agent as a kill would, and starts another."""

    def __init__(self, registry: Registry, state: StateDir, isolation: Isolation, gpus: int) -> None:
        self.registry, self.state, self.isolation, self.gpus = registry, state, isolation, gpus
        self._tasks: list[asyncio.Task[None]] = []
        self._agent: asyncio.Task[None] | None = None

    def start(self) -> None:
        registry = self.registry
        for controller in (
            NamespaceController(registry).run(),
            QuotaController(registry).run(),
            DeploymentController(registry).run(),
            ReplicaSetController(registry).run(),
            GarbageCollector(registry).run(),
            JobController(registry).run(),
            Scheduler(registry, NODE).run(),
        ):
            self._tasks.append(asyncio.create_task(controller))
        self.start_node()

    def start_node(self) -> None:
        allocatable = {"cpu": "2", "memory": "1Gi", "pods": "100"}
        if self.gpus:
            allocatable[GPU] = str(self.gpus)
        context = NodeContext(
            registry=self.registry,
            state=self.state,
            name=NODE,
            base_env=container_environment(os.environ, {"AWS_ENDPOINT_URL": "http://store"}),
            isolation=self.isolation,
            devices=Devices(self.gpus),
            events=EventRecorder(self.registry, "kubelet"),
            allocatable=allocatable,
        )
        self.agent = NodeAgent(context)
        self._agent = asyncio.create_task(self.agent.run())

    async def stop_node(self) -> None:
        assert self._agent is not None
        self._agent.cancel()
        await asyncio.gather(self._agent, return_exceptions=True)

    async def stop(self) -> None:
        await self.stop_node()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.registry.close()
        for path in self.state.pods.iterdir():
            # A thread of the agent outlives its task: where it removes a pod's folder, it has ended the pod before.
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(PodFolder(path).kill, lambda: None)
        broken = [one for one in results if isinstance(one, Exception)]
        assert not broken, broken

    async def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        return await self.registry.create(PODS, "default", pod)

    async def pod(self, name: str) -> dict[str, Any]:
        return await self.registry.get(PODS, "default", name)

    async def delete(self, name: str, grace: int | None = None) -> None:
        await self.registry.delete(PODS, "default", name, grace_seconds=grace)

    async def until(
        self, name: str, ready: Callable[[dict[str, Any]], bool], resource: Any = PODS, seconds: float = 30
    ) -> dict[str, Any]:
        """The object as soon as `ready` says yes of it."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            found = await self.registry.get(resource, "default", name)
            if ready(found):
                return found
            assert asyncio.get_running_loop().time() < end, f"{name} is still {found.get('status')}"
            await asyncio.sleep(0.02)

    async def done(self, name: str) -> dict[str, Any]:
        """The pod once it has ended."""
        return await self.until(name, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"))

    async def running(self, name: str) -> dict[str, Any]:
        return await self.until(name, lambda pod: pod["status"]["phase"] == "Running")

    async def run(self, pod: dict[str, Any]) -> dict[str, Any]:
        """Create a pod and wait until it has ended; returns its last object."""
        await self.create(pod)
        return await self.done(pod["metadata"]["name"])

    async def gone(self, name: str, resource: Any = PODS, seconds: float = 20) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while any(one["metadata"]["name"] == name for one in (await self.registry.list(resource, "default"))[0]):
            assert asyncio.get_running_loop().time() < end, f"{name} is still there"
            await asyncio.sleep(0.02)

    def log(self, pod: dict[str, Any], container: str = "main") -> str:
        return self.agent.path(pod, container).read_text()

    async def create_job(self, job: dict[str, Any]) -> dict[str, Any]:
        return await self.registry.create(JOBS, "default", job)


def terminated(pod: dict[str, Any], container: int = 0) -> dict[str, Any]:
    """The `terminated` state of a container."""
    found: dict[str, Any] = pod["status"]["containerStatuses"][container]["state"]["terminated"]
    return found


@contextlib.asynccontextmanager
async def local_cluster(folder: Path, isolation: Isolation | None = None, gpus: int = 0) -> AsyncIterator[LocalCluster]:
    state = StateDir(folder)
    state.create()
    made = LocalCluster(Registry.open(None), state, isolation or detect()[0], gpus)
    made.start()
    try:
        yield made
    finally:
        await made.stop()
