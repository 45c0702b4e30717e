"""The watch stream: one JSON line an event, bookmarks in between, an end after timeoutSeconds."""

from __future__ import annotations

import asyncio
import random

from aiohttp import ClientConnectionError, web

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.watch import BOOKMARK_SECONDS, Watcher, bookmark, error_event
from selm_local.apiserver.web import options, shapes
from selm_local.apiserver.web.objects import Call
from selm_local.apiserver.web.route import is_true

# Without a timeout of its own a watch lives between one and two of these, as with a real API server's default.
DEFAULT_SECONDS = 1800.0


async def watch(call: Call) -> web.StreamResponse:
    query = call.query
    bookmarks = is_true(query.get("allowWatchBookmarks"))
    initial = _initial_events(call)
    seconds = options.watch_seconds(query, DEFAULT_SECONDS * (1 + random.random()))
    registry = call.registry
    since = options.version_number(query)
    field_selector = query.get("fieldSelector")
    if call.name:
        field_selector = f"metadata.name={call.name}" + (f",{field_selector}" if field_selector else "")
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    try:
        watcher = registry.open_watch(
            call.resource,
            call.target.namespace,
            since=since,
            label_selector=query.get("labelSelector"),
            field_selector=field_selector,
            initial=bool(initial),
        )
    except ApiError as e:
        if e.code != 410:
            raise
        # A real API server answers 200 and says it in the stream; clients look for it there.
        await response.prepare(call.request)
        await response.write(shapes.event_bytes(call.strategy, error_event(e), "", ""))
        return response
    if initial and bookmarks:
        kind, version = call.resource.kind, registry.storage.version
        watcher.push_always(bookmark(kind, call.resource.api_version, version, initial_end=True))
    try:
        await response.prepare(call.request)
        await _pump(call, response, watcher, seconds, bookmarks)
    except (ClientConnectionError, ConnectionError):
        return response  # the client went away, which is how most watches end
    finally:
        registry.hub.drop(watcher)
    return response


async def _pump(call: Call, response: web.StreamResponse, watcher: Watcher, seconds: float, bookmarks: bool) -> None:
    loop = asyncio.get_running_loop()
    end, strategy = loop.time() + seconds, call.strategy
    as_kind, include = call.wanted.as_kind, call.query.get("includeObject", "Metadata")
    next_bookmark = loop.time() + BOOKMARK_SECONDS
    while not watcher.done:
        now = loop.time()
        if now >= end:
            return
        event = await watcher.next(min(end, next_bookmark) - now)
        if event is not None:
            events = [event, *watcher.take()]
            await response.write(b"".join(shapes.event_bytes(strategy, e, as_kind, include) for e in events))
        elif bookmarks and loop.time() >= next_bookmark:
            mark = bookmark(call.resource.kind, call.resource.api_version, call.registry.storage.version)
            await response.write(shapes.event_bytes(strategy, mark, as_kind, include))
        if loop.time() >= next_bookmark:
            next_bookmark = loop.time() + BOOKMARK_SECONDS


def _initial_events(call: Call) -> bool | None:
    asked = call.query.get("sendInitialEvents")
    match = call.query.get("resourceVersionMatch", "")
    if asked is None:
        if match:
            raise options.list_problem(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        return None
    if match != "NotOlderThan":
        raise options.list_problem(
            "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        )
    return is_true(asked)
