"""`python -m selm_operator`: takes the Lease, then reconciles SELMRuns until it is told to stop or loses the Lease."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any

import kopf
from aiohttp import web
from kubernetes_asyncio.config import ConfigException

from selm_operator.events import EventRecorder
from selm_operator.handlers import kopf_settings, registry
from selm_operator.health import Health
from selm_operator.http_server import start_http_server
from selm_operator.job_store import JobStore
from selm_operator.jobs import WatchedJobs
from selm_operator.jobs_watch import JobsWatch, RunKey
from selm_operator.kube import Connection, KubeClient
from selm_operator.lease import LeaseHolder, LeaseTimes
from selm_operator.logs import configure_logs
from selm_operator.metrics import LEADER, QUEUE_LENGTH, QUEUE_WAIT_SECONDS, REGISTRY, count_answer
from selm_operator.queue import QueueTimes, WorkQueue
from selm_operator.reconcile import Reconciler
from selm_operator.runs_audit import RunsAudit
from selm_operator.settings import Settings, SettingsError, read_settings

log = logging.getLogger("selm_operator")

EXIT_CONFIG = 78
"""Settings or kubeconfig cannot be used (sysexits' EX_CONFIG)."""
EXIT_LEASE_LOST = 1


async def serve(settings: Settings, connection: Connection) -> int:
    """Runs the operator until SIGTERM or SIGINT (0), or until the Lease is lost (1)."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = KubeClient(connection, request_seconds=settings.waits.request, on_answer=count_answer)
    waits = settings.waits
    times = LeaseTimes(waits.lease_duration, waits.lease_renew_deadline, waits.lease_retry)
    lease = LeaseHolder(client, settings.namespace, settings.identity, times)
    LEADER.set_function(lambda: float(lease.held))
    health = Health(readiness={"api-server": lease.silence})
    http = None
    try:
        http = await listen(settings.http_port, health)
        if not await first_of(stop.wait(), lease.acquire()):
            return 0
        work = asyncio.create_task(reconcile_forever(settings, connection, client, lease, health, stop))
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
        if http is not None:
            await http.cleanup()


class PortTaken(Exception):
    """The port of SELM_HTTP_PORT cannot be listened on."""


async def listen(port: int, health: Health) -> web.AppRunner | None:
    """The HTTP server; None where the port is 0. Raises PortTaken."""
    try:
        return await start_http_server(port, REGISTRY, health) if port else None
    except OSError as error:
        raise PortTaken(
            f"SELM_HTTP_PORT is {port}, which cannot be listened on ({error}); allowed is a free port"
        ) from error


async def reconcile_forever(
    settings: Settings,
    connection: Connection,
    client: KubeClient,
    lease: LeaseHolder,
    health: Health,
    stop: asyncio.Event,
) -> None:
    """The queue, kopf's watch of runs and the watches of their Jobs; ends by cancellation or by a fatal error.

    kopf takes SIGTERM and SIGINT over from this process and returns on them: then `stop` is set.
    """
    recorder = EventRecorder(client, settings.identity)
    waits = settings.waits
    watches: dict[str | None, JobsWatch] = {}

    def jobs_in(namespace: str) -> JobStore | None:
        watch = watches.get(namespace) or watches.get(None)
        return None if watch is None else watch.store_if_alive()

    jobs = WatchedJobs(client, jobs_in)
    reconciler = Reconciler(client, settings, recorder, leading=lambda: lease.held, jobs=jobs)
    queue: WorkQueue[RunKey] = WorkQueue(
        reconciler,
        QueueTimes(waits.resync, waits.error_first, waits.error_max),
        workers=settings.workers,
        on_start=QUEUE_WAIT_SECONDS.observe,
    )
    QUEUE_LENGTH.set_function(lambda: len(queue))
    namespaces: tuple[str | None, ...] = settings.namespaces or (None,)
    for namespace in namespaces:
        watches[namespace] = JobsWatch(client, namespace, queue.add, seconds=waits.watch_server)
    audit = RunsAudit(client, namespaces, queue.add, seconds=waits.audit)
    health.liveness |= {"queue": partial(queue.stuck, waits.stuck), "watch-runs": audit.problem}
    for watch in watches.values():
        name = f"watch-jobs-{watch.namespace}" if watch.namespace else "watch-jobs"
        health.liveness[name] = partial(watch.stands_still, waits.stuck)
        health.readiness[name] = watch.problem
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.run(), name="queue")
        group.create_task(audit.run(), name="audit of the watch of runs")
        for watch in watches.values():
            group.create_task(watch.run(), name="watch of Jobs")
        await kopf.operator(
            registry=registry(queue, connection, audit),
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
    configure_logs(settings.log_format)
    return asyncio.run(start(settings))


async def start(settings: Settings) -> int:
    """Loads the connection and serves."""
    try:
        connection = await Connection.load()
    except ConfigException as error:
        sys.stderr.write(f"neither KUBECONFIG nor a service account can be used: {error}\n")
        return EXIT_CONFIG
    try:
        return await serve(settings, connection)
    except PortTaken as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG


if __name__ == "__main__":
    sys.exit(main())
