"""The cluster's daemon: API server, controllers and node in one process (`python -m selm_local cluster`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from selm_local.apiserver.__main__ import admin_token
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.tls import ensure_certificates, kubeconfig, write_private
from selm_local.apiserver.web.app import ApiServer
from selm_local.controllers.deployments import DeploymentController
from selm_local.controllers.events import EventRecorder
from selm_local.controllers.garbage import GarbageCollector
from selm_local.controllers.jobs import JobController
from selm_local.controllers.namespaces import NamespaceController
from selm_local.controllers.quotas import QuotaController
from selm_local.controllers.replicasets import ReplicaSetController
from selm_local.controllers.scheduler import Scheduler
from selm_local.node.agent import NodeAgent, machine_resources
from selm_local.node.context import ApiAccess, NodeContext, container_environment
from selm_local.node.devices import GPU, Devices
from selm_local.node.isolation import detect
from selm_local.state import StateDir

HOST = "127.0.0.1"
NODE_NAME = "selm-local"
MAX_PODS = 250
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterSettings:
    """port 0: any free one. cpus and memory (quantities) None: the machine's."""

    port: int = 0
    cpus: int | None = None
    memory: str | None = None
    gpus: int = 0

    def allocatable(self) -> dict[str, str]:
        """The node's resources as a Node object has them."""
        found = machine_resources()
        if self.cpus is not None:
            found["cpu"] = str(self.cpus)
        if self.memory is not None:
            found["memory"] = self.memory
        if self.gpus:
            found[GPU] = str(self.gpus)
        return {**found, "pods": str(MAX_PODS)}


async def serve(
    state: StateDir, settings: ClusterSettings, inherited: Mapping[str, str], defaults: Mapping[str, str]
) -> None:
    """Serve until SIGTERM or SIGINT. Containers go on running; the next daemon takes them over.

    Args:
        inherited: the environment that containers get. defaults: variables that stand in for an image's own.

    Raises:
        OSError: the port is taken.
    """
    state.create()
    token, certificates = admin_token(state.root), ensure_certificates(state.tls)
    registry = Registry.open(state.database)
    isolation, note = await asyncio.to_thread(detect)
    if note:
        _log.warning("containers get no mounts of their own on this machine: %s", note)
    context = NodeContext(
        registry=registry,
        state=state,
        name=NODE_NAME,
        base_env=container_environment(inherited, defaults),
        isolation=isolation,
        devices=Devices(settings.gpus),
        events=EventRecorder(registry, "kubelet"),
        allocatable=settings.allocatable(),
    )
    agent = NodeAgent(context, note)
    server = ApiServer(registry, token, tls=certificates.context(), logs=agent)
    controllers = [
        NamespaceController(registry).run(),
        QuotaController(registry).run(),
        DeploymentController(registry).run(),
        ReplicaSetController(registry).run(),
        GarbageCollector(registry).run(),
        JobController(registry).run(),
        Scheduler(registry, NODE_NAME).run(),
        agent.run(),
    ]
    bound = await server.start(HOST, settings.port)
    context.api = ApiAccess(HOST, bound, certificates.ca.read_bytes(), server.access.issue)
    text = kubeconfig(f"https://{HOST}:{bound}", certificates.ca.read_bytes(), token)
    write_private(state.kubeconfig, text.encode())
    _log.info("serving on https://%s:%s, state in %s", HOST, bound, state.root)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    tasks = [asyncio.create_task(one) for one in controllers]
    waiting = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, waiting):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    await server.stop()
    registry.close()
    for task in done:
        if task is not waiting:
            task.result()  # a controller never ends by itself: what ended it ends the daemon
