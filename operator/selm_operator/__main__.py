"""`python -m selm_operator`: takes the Lease, then reconciles SELMRuns until it is told to stop or loses the Lease."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import kopf
import prometheus_client
from kubernetes_asyncio.config import ConfigException

from selm_operator.events import EventRecorder
from selm_operator.handlers import kopf_settings, registry
from selm_operator.jobs_watch import JobsWatch, RunKey
from selm_operator.kube import Connection, KubeClient
from selm_operator.lease import LeaseHolder, LeaseTimes
from selm_operator.metrics import QUEUE_LENGTH, REGISTRY
from selm_operator.queue import QueueTimes, WorkQueue
from selm_operator.reconcile import Reconciler
from selm_operator.settings import Settings, SettingsError, read_settings

log = logging.getLogger("selm_operator")

EXIT_CONFIG = 78
"""Settings or kubeconfig cannot be used (sysexits' EX_CONFIG)."""
EXIT_LEASE_LOST = 1


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        entry["message"] = record.getMessage()
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


async def serve(settings: Settings, connection: Connection) -> int:
    """Runs the operator until SIGTERM or SIGINT (0), or until the Lease is lost (1)."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = KubeClient(connection, request_seconds=settings.waits.request)
    waits = settings.waits
    times = LeaseTimes(waits.lease_duration, waits.lease_renew_deadline, waits.lease_retry)
    lease = LeaseHolder(client, settings.namespace, settings.identity, times)
    try:
        if not await first_of(stop.wait(), lease.acquire()):
            return 0
        work = asyncio.create_task(reconcile_forever(settings, connection, client, lease, stop))
        stopped, kept = asyncio.create_task(stop.wait()), asyncio.create_task(lease.keep())
        await asyncio.wait({work, stopped, kept}, return_when=asyncio.FIRST_COMPLETED)
        failure = await ended(work)
        for task in (stopped, kept):
            await ended(task)
        if failure is not None:
            raise failure
        return 0 if stop.is_set() else EXIT_LEASE_LOST
    finally:
        await lease.release()
        await client.close()


async def reconcile_forever(
    settings: Settings, connection: Connection, client: KubeClient, lease: LeaseHolder, stop: asyncio.Event
) -> None:
    """The queue, kopf's watch of runs and the watches of their Jobs; ends by cancellation or by a fatal error.

    kopf takes SIGTERM and SIGINT over from this process and returns on them: then `stop` is set.
    """
    recorder = EventRecorder(client, settings.identity)
    reconciler = Reconciler(client, settings, recorder, leading=lambda: lease.held)
    waits = settings.waits
    queue: WorkQueue[RunKey] = WorkQueue(
        reconciler, QueueTimes(waits.resync, waits.error_first, waits.error_max), workers=settings.workers
    )
    QUEUE_LENGTH.set_function(lambda: len(queue))
    namespaces: tuple[str | None, ...] = settings.namespaces or (None,)
    watches = [JobsWatch(client, namespace, queue.add, seconds=waits.watch_server) for namespace in namespaces]
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.run(), name="queue")
        for watch in watches:
            group.create_task(watch.run(), name="watch of Jobs")
        await kopf.operator(
            registry=registry(queue, connection),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
        )
        stop.set()


async def first_of(stop: Coroutine[Any, Any, Any], work: Coroutine[Any, Any, Any]) -> bool:
    """Whether `work` ended before `stop`; the other is cancelled. Raises what `work` raised."""
    stopping, working = asyncio.create_task(stop), asyncio.create_task(work)
    await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
    failure = await ended(working)
    await ended(stopping)
    if failure is not None:
        raise failure
    return not working.cancelled()


async def ended(task: asyncio.Task[Any]) -> BaseException | None:
    """Cancels the task, waits for its end, and returns what it died of, cancellation apart."""
    task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()


def main() -> int:
    """Reads the settings and serves; the exit code of the process."""
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("kopf").setLevel(logging.WARNING)
    if settings.metrics_port:
        prometheus_client.start_http_server(settings.metrics_port, registry=REGISTRY)
    return asyncio.run(start(settings))


async def start(settings: Settings) -> int:
    """Loads the connection and serves."""
    try:
        connection = await Connection.load()
    except ConfigException as error:
        sys.stderr.write(f"neither KUBECONFIG nor a service account can be used: {error}\n")
        return EXIT_CONFIG
    return await serve(settings, connection)


if __name__ == "__main__":
    sys.exit(main())
