"""The probes: what they ask, and that they answer over HTTP beside the metrics."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from selm_operator.health import Health, ask
from selm_operator.http_server import start_http_server
from selm_operator.jobs_watch import JobsWatch
from selm_operator.kube import ApiError, Json, Resource
from selm_operator.lease import LeaseHolder, LeaseTimes
from selm_operator.metrics import REGISTRY
from selm_operator.queue import Again, Look, QueueTimes, WorkQueue
from selm_operator.runs_audit import RunsAudit
from support.fake_cluster import FakeCluster
from support.fake_time import run_in_fake_time


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


async def test_it_serves_metrics_and_both_probes() -> None:
    health, port = Health(readiness={"api-server": lambda: "it is away", "watch-jobs": lambda: None}), free_port()
    runner = await start_http_server(port, REGISTRY, health)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(path) as response:
                    return response.status, await response.text()

            assert await get("/healthz") == (200, "ok\n")
            assert await get("/readyz") == (503, "[-]api-server: it is away\n[+]watch-jobs ok\nfailed\n")
            health.readiness.clear()
            assert (await get("/readyz"))[0] == 200
            status, text = await get("/metrics")
            assert status == 200
            assert "# TYPE selm_operator_reconcile_duration_seconds histogram" in text
            assert "process_resident_memory_bytes" in text
    finally:
        await runner.cleanup()


async def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        with pytest.raises(OSError):
            await start_http_server(other.getsockname()[1], REGISTRY, Health())


def test_a_report_fails_of_one_problem() -> None:
    assert ask({"a": lambda: None}).healthy
    assert not ask({"a": lambda: None, "b": lambda: "broken"}).healthy


def test_a_look_that_hangs_is_told_and_one_that_works_is_not() -> None:
    async def story() -> list[str | None]:
        never = asyncio.Event()

        async def look(key: str) -> Look:
            await (never.wait() if key == "hangs" else asyncio.sleep(1))
            return Again(1)

        queue: WorkQueue[str] = WorkQueue(look, QueueTimes(60, 1, 8), workers=2)
        running = asyncio.create_task(queue.run())
        queue.add("works")
        await asyncio.sleep(1000)
        before = queue.stuck(600)
        queue.add("hangs")
        await asyncio.sleep(599)
        not_yet = queue.stuck(600)
        await asyncio.sleep(10)
        after = queue.stuck(600)
        running.cancel()
        return [before, not_yet, after]

    before, not_yet, after = run_in_fake_time(story())
    assert (before, not_yet) == (None, None)
    assert after == "the look at hangs has been at work for 609 s"


def test_a_queue_whose_loop_ended_is_told() -> None:
    async def story() -> str | None:
        async def look(key: str) -> Look:
            return Again(5)

        queue: WorkQueue[str] = WorkQueue(look, QueueTimes(60, 1, 8), workers=2)
        running = asyncio.create_task(queue.run())
        queue.add("a")
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.sleep(700)
        return queue.stuck(600)

    assert run_in_fake_time(story()) == "a look is overdue by 696 s though workers are free"


def test_an_api_server_that_is_away_makes_a_standby_and_a_leader_unready_and_its_return_ready() -> None:
    async def story() -> list[str | None]:
        cluster, told = FakeCluster(), []
        away = True

        def fault(when: str, verb: str, resource: Resource, name: str) -> None:
            if away:
                raise TimeoutError

        cluster.fault = fault
        lease = LeaseHolder(cluster, "default", "me", LeaseTimes(15, 10, 2))
        acquiring = asyncio.create_task(lease.acquire())
        await asyncio.sleep(5)
        told.append(lease.silence())
        away = False
        await acquiring
        told.append(lease.silence())
        keeping = asyncio.create_task(lease.keep())
        await asyncio.sleep(100)
        told.append(lease.silence())
        away = True
        await asyncio.sleep(20)
        told.append(lease.silence())
        keeping.cancel()
        return told

    never, held, kept, lost = run_in_fake_time(story())
    assert never == "the API server has not answered yet"
    assert (held, kept) == (None, None)
    assert lost is not None
    assert lost.startswith("the API server has not answered for ")


class Lists:
    """Answers each list with the next of its answers, an error among them, and watches for ever in silence."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def list(self, resource: Resource, namespace: str | None, **_: Any) -> Json:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"items": answer, "metadata": {"resourceVersion": "1"}}

    async def watch(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()
        yield {}


def test_a_watch_of_jobs_that_is_forbidden_is_unready_until_it_opens_and_one_that_stands_still_is_told() -> None:
    async def story() -> list[str | None]:
        client = Lists(ApiError(403, "Forbidden", "jobs.batch is forbidden"), [])
        watch = JobsWatch(client, None, lambda key: None)  # type: ignore[arg-type]
        told = [watch.problem()]
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(0)
        told.append(watch.problem())
        await asyncio.sleep(10)
        told += [watch.problem(), watch.stands_still(600)]
        await asyncio.sleep(700)
        told.append(watch.stands_still(600))
        running.cancel()
        return told

    begin, forbidden, open_, moving, still = run_in_fake_time(story())
    assert begin == "the Jobs are not listed yet"
    assert forbidden == "403 Forbidden: jobs.batch is forbidden"
    assert (open_, moving) == (None, None)
    assert still is not None
    assert still.startswith("silent for 70")


def listed(*versions: tuple[str, str]) -> list[Json]:
    return [
        {"metadata": {"namespace": "ns", "name": f"run-{uid}", "uid": uid, "resourceVersion": version}}
        for uid, version in versions
    ]


async def test_a_run_that_the_watch_missed_is_woken_at_once_and_told_when_it_stays_so() -> None:
    woken: list[tuple[str, str]] = []
    client = Lists(listed(("a", "1")), listed(("a", "1"), ("b", "5")), listed(("a", "1"), ("b", "5")))
    audit = RunsAudit(client, (None,), woken.append, seconds=300)  # type: ignore[arg-type]
    audit.note("a", "1")
    await audit.compare()
    assert (woken, audit.problem()) == ([], None)
    await audit.compare()
    assert (woken, audit.problem()) == ([("ns", "run-b")], None)
    await audit.compare()
    assert audit.problem() == "the watch of SELMRuns has not told of version 5 of ns/run-b for 300 s"


async def test_a_run_that_changes_between_two_lists_and_is_told_of_is_no_alarm() -> None:
    client = Lists(listed(("a", "1")), listed(("a", "2")), listed(("a", "3")), listed())
    audit = RunsAudit(client, (None,), lambda key: None, seconds=300)  # type: ignore[arg-type]
    await audit.compare()
    audit.note("a", "1")
    await audit.compare()
    audit.note("a", "3")
    await audit.compare()
    assert audit.problem() is None
    await audit.compare()
    assert audit.told == {}, "what is gone is forgotten"
