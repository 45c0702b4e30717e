"""The client and the watch of Jobs, over HTTP against a server that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes_asyncio.client import Configuration

from selm_operator.jobs_watch import JobsWatch, RunKey
from selm_operator.kube import JOBS, RUNS, SERVICES, ApiError, Connection, KubeClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Records requests and answers by `handler`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.handler: Handler = self.nothing
        self.headers: dict[str, str] = {}

    @staticmethod
    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query), await request.text()))
        self.headers = dict(request.headers)
        return await self.handler(request)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, KubeClient]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    async with TestServer(app) as http:
        configuration = Configuration()
        configuration.host = str(http.make_url("/")).rstrip("/")
        configuration.api_key["BearerToken"] = "Bearer secret"
        client = KubeClient(Connection(configuration), request_seconds=5)
        yield server, client
        await client.close()


async def test_requests_are_as_the_api_server_wants_them(served: tuple[Server, KubeClient]) -> None:
    server, client = served
    await client.get(RUNS, "ns", "tiny")
    await client.list(JOBS, "ns", labels="a=b")
    await client.create(JOBS, "ns", {"metadata": {"name": "j"}})
    await client.replace(RUNS, "ns", {"metadata": {"name": "tiny"}}, subresource="status")
    await client.apply(SERVICES, "ns", {"metadata": {"name": "s"}})
    assert server.headers["Content-Type"] == "application/apply-patch+yaml"
    await client.delete(JOBS, "ns", "j", uid="u", propagation="Foreground")
    assert [r[:3] for r in server.requests] == [
        ("GET", "/apis/selm.dev/v1alpha1/namespaces/ns/selmruns/tiny", {}),
        ("GET", "/apis/batch/v1/namespaces/ns/jobs", {"labelSelector": "a=b"}),
        ("POST", "/apis/batch/v1/namespaces/ns/jobs", {"fieldManager": "selm-operator"}),
        ("PUT", "/apis/selm.dev/v1alpha1/namespaces/ns/selmruns/tiny/status", {"fieldManager": "selm-operator"}),
        ("PATCH", "/api/v1/namespaces/ns/services/s", {"fieldManager": "selm-operator", "force": "true"}),
        ("DELETE", "/apis/batch/v1/namespaces/ns/jobs/j", {}),
    ]
    options = json.loads(server.requests[-1][3])
    assert (options["preconditions"], options["propagationPolicy"]) == ({"uid": "u"}, "Foreground")
    assert server.headers["Authorization"] == "Bearer secret"


async def test_a_refusal_keeps_the_status_words(served: tuple[Server, KubeClient]) -> None:
    server, client = served

    async def conflict(request: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "reason": "AlreadyExists", "message": "exists"}, status=409)

    server.handler = conflict
    with pytest.raises(ApiError) as refused:
        await client.create(JOBS, "ns", {"metadata": {"name": "j"}})
    assert (refused.value.code, refused.value.reason, refused.value.message) == (409, "AlreadyExists", "exists")


async def test_an_answer_that_is_no_status_is_an_error_too(served: tuple[Server, KubeClient]) -> None:
    server, client = served

    async def proxy(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>bad gateway</html>", status=502)

    server.handler = proxy
    with pytest.raises(ApiError, match="bad gateway"):
        await client.get(RUNS, "ns", "tiny")


def event(kind: str, version: int, run: str = "tiny") -> bytes:
    metadata = {"name": "j", "namespace": "ns", "resourceVersion": str(version), "labels": {"selm.dev/run": run}}
    return json.dumps({"type": kind, "object": {"metadata": metadata}}).encode() + b"\n"


async def test_the_watch_lists_then_follows_and_goes_on_where_the_stream_ended(
    served: tuple[Server, KubeClient],
) -> None:
    server, client = served
    streams = iter([[event("MODIFIED", 8, "one"), event("BOOKMARK", 9)], [event("ADDED", 12, "two")], []])

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            item = {"metadata": {"name": "j", "namespace": "ns", "labels": {"selm.dev/run": "listed"}}}
            return web.json_response({"items": [item], "metadata": {"resourceVersion": "7"}})
        return await stream(request, next(streams))

    server.handler = answer
    woken = await watched(client, until=3)
    assert woken == [("ns", "listed"), ("ns", "one"), ("ns", "two")]
    watches = [query for _, _, query, _ in server.requests if "watch" in query]
    assert [query["resourceVersion"] for query in watches[:2]] == ["7", "9"]
    assert watches[0]["labelSelector"] == "selm.dev/run-uid"
    assert watches[0]["allowWatchBookmarks"] == "true"


async def test_a_version_that_is_too_old_is_listed_anew(served: tuple[Server, KubeClient]) -> None:
    server, client = served
    gone = (
        json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}).encode() + b"\n"
    )
    streams = iter([[gone], [event("ADDED", 21)]])
    versions = iter(["7", "20"])

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"items": [], "metadata": {"resourceVersion": next(versions)}})
        return await stream(request, next(streams))

    server.handler = answer
    assert await watched(client, until=1) == [("ns", "tiny")]
    assert [q["resourceVersion"] for _, _, q, _ in server.requests if "watch" in q][:2] == ["7", "20"]


async def test_the_watch_keeps_the_jobs_it_tells_of(served: tuple[Server, KubeClient]) -> None:
    server, client = served

    def told(kind: str, version: int, uid: str) -> bytes:
        labels = {"selm.dev/run": uid, "selm.dev/run-uid": "r"}
        metadata = {"name": uid, "namespace": "ns", "uid": uid, "resourceVersion": str(version), "labels": labels}
        return json.dumps({"type": kind, "object": {"metadata": metadata, "spec": {}}}).encode() + b"\n"

    lines = [told("ADDED", 8, "one"), told("ADDED", 9, "two"), told("DELETED", 10, "one")]
    streams = iter([lines, []])

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"items": [], "metadata": {"resourceVersion": "7"}})
        return await stream(request, next(streams))

    server.handler = answer
    woken: list[RunKey] = []
    watch = JobsWatch(client, None, woken.append, seconds=30)
    assert watch.store_if_alive() is None
    running = asyncio.create_task(watch.run())
    while len(woken) < 3:
        await asyncio.sleep(0.01)
    assert watch.store_if_alive() is watch.store
    assert len(watch.store) == 1
    watch.heard -= 1000
    assert watch.store_if_alive() is None, "a watch that has been silent is not relied on"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def stream(request: web.Request, lines: list[bytes]) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for line in lines:
        await response.write(line)
    if not lines:
        await asyncio.sleep(5)
    return response


async def watched(client: KubeClient, until: int) -> list[RunKey]:
    """The runs woken, once there are enough."""
    woken: list[RunKey] = []
    enough = asyncio.Event()

    def wake(key: RunKey) -> None:
        woken.append(key)
        if len(woken) >= until:
            enough.set()

    running = asyncio.create_task(JobsWatch(client, None, wake, seconds=30).run())
    await asyncio.wait_for(enough.wait(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return woken
