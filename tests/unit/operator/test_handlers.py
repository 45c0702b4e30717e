"""kopf's part: an event wakes, and that is all."""

from __future__ import annotations

import asyncio

from kubernetes_asyncio.client import Configuration

from selm_operator.handlers import connection_info, kopf_settings, registry
from selm_operator.kube import Connection
from selm_operator.queue import Gone, Look, QueueTimes, WorkQueue
from selm_operator.runs_audit import RunsAudit


async def test_an_event_wakes_its_run_and_nothing_that_kopf_would_write_for_is_registered() -> None:
    looked: list[tuple[str, str]] = []

    async def look(key: tuple[str, str]) -> Look:
        looked.append(key)
        return Gone()

    queue: WorkQueue[tuple[str, str]] = WorkQueue(look, QueueTimes(60, 1, 8), workers=1)
    audit = RunsAudit(None, (None,), queue.add, seconds=1)  # type: ignore[arg-type]
    handlers = registry(queue, Connection(Configuration()), audit)
    (wake,) = handlers._watching.get_all_handlers()
    body = {"metadata": {"uid": "u", "resourceVersion": "7"}}
    await wake.fn(namespace="ns", name="tiny", body=body, type="ADDED")  # type: ignore
    assert audit.told == {"u": "7"}
    await wake.fn(namespace="ns", name="tiny", body=body, type="DELETED")  # type: ignore
    assert audit.told == {}
    running = asyncio.create_task(queue.run())
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert looked == [("ns", "tiny")]
    for kind in (handlers._changing, handlers._spawning, handlers._indexing, handlers._webhooks):
        assert not list(kind.get_all_handlers())


async def test_kopf_reaches_the_api_server_as_the_operators_own_client_does() -> None:
    configuration = Configuration()
    configuration.host = "https://10.0.0.1:6443/"
    configuration.ssl_ca_cert = "/ca.crt"
    configuration.api_key["BearerToken"] = "Bearer secret"
    info = await connection_info(Connection(configuration))
    assert (info.server, info.ca_path) == ("https://10.0.0.1:6443", "/ca.crt")
    assert (info.scheme, info.token) == ("Bearer", "secret")
    assert not info.insecure


def test_kopf_neither_posts_nor_scans() -> None:
    settings = kopf_settings()
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert settings.watching.client_timeout == 310
