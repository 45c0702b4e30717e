"""kubectl logs: follow, tailLines, sinceSeconds, sinceTime, limitBytes, timestamps.

`previous` is answered 501: containers are not restarted in place.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientConnectionError, web

from selm_local.apiserver import errors
from selm_local.apiserver.logs import PodLogs, times_path
from selm_local.apiserver.resources import PODS
from selm_local.apiserver.storage import Object
from selm_local.apiserver.web import options
from selm_local.apiserver.web.logtext import LogTimes, Stamper, tail_offset
from selm_local.apiserver.web.objects import Call
from selm_local.apiserver.web.route import is_true

_CHUNK = 64 * 1024
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class LogOptions:
    """tail: the last lines alone. limit: bytes at most. since: only what was written from then on."""

    tail: int | None
    limit: int | None
    since: dt.datetime | None
    timestamps: bool


def log_options(query: Mapping[str, str], now: dt.datetime) -> LogOptions:
    """Raises ApiError where a parameter is wrong, or not built."""
    if is_true(query.get("previous")):
        raise errors.not_implemented("logs of a container's previous run")
    if query.get("stream") not in (None, "", "All"):
        raise errors.not_implemented("logs of one stream alone")
    numbers = {n: options.whole_number(query, n) for n in ("tailLines", "limitBytes", "sinceSeconds")}
    for name, value in numbers.items():
        least = 0 if name == "tailLines" else 1
        if value is not None and value < least:
            raise errors.bad_request(f"{name}: Invalid value: {value}: must be greater than or equal to {least}")
    since = None if numbers["sinceSeconds"] is None else now - dt.timedelta(seconds=numbers["sinceSeconds"])
    if text := query.get("sinceTime"):
        if since is not None:
            raise errors.bad_request("at most one of sinceTime or sinceSeconds may be specified")
        try:
            since = dt.datetime.fromisoformat(text)
        except ValueError:
            raise errors.bad_request(f"sinceTime: Invalid value: {text!r}: must be a time in RFC 3339") from None
    return LogOptions(numbers["tailLines"], numbers["limitBytes"], since, is_true(query.get("timestamps")))


def pick_container(pod: Object, asked: str) -> str:
    """The container that is meant. Raises ApiError 400 where it is unknown or must be said."""
    spec = pod["spec"]
    names = [c["name"] for c in spec.get("containers") or []]
    every = names + [c["name"] for c in spec.get("initContainers") or []]
    name = pod["metadata"]["name"]
    if asked:
        if asked not in every:
            raise errors.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) != 1:
        listed = " ".join(names)
        raise errors.bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")
    return str(names[0])


def container_state(pod: Object, container: str) -> Object:
    status = pod.get("status") or {}
    every = (status.get("containerStatuses") or []) + (status.get("initContainerStatuses") or [])
    return next((s.get("state") or {} for s in every if s["name"] == container), {})


async def pod_log(call: Call, logs: PodLogs | None) -> web.StreamResponse:
    stored = call.registry.stored(PODS, call.target.namespace, call.name)
    if logs is None:
        raise errors.not_implemented("logs of pods where no node runs")
    asked = log_options(call.query, dt.datetime.now(dt.UTC))
    container = pick_container(stored.object, call.query.get("container", ""))
    follow = is_true(call.query.get("follow"))
    path = logs.path(stored.copy(), container)
    if not path.exists() and not follow:
        state = container_state(stored.object, container)
        if not state or "waiting" in state:
            reason = (state.get("waiting") or {}).get("reason") or "ContainerCreating"
            raise errors.bad_request(f'container "{container}" in pod "{call.name}" is waiting to start: {reason}')
    uid = stored.object["metadata"]["uid"]

    def over() -> bool:
        now = call.registry.storage.get(PODS.storage, call.target.namespace or "", call.name)
        if now is None or now.object["metadata"]["uid"] != uid:
            return True
        return "terminated" in container_state(now.object, container)

    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(call.request)
    try:
        while not path.exists():
            if not follow or over():
                return response
            await asyncio.sleep(_POLL_SECONDS)
            path = logs.path(stored.copy(), container)
        await _send(response, path, asked, over if follow else None)
    except (ClientConnectionError, ConnectionError):
        return response  # the reader went away
    return response


async def _send(response: web.StreamResponse, path: Path, asked: LogOptions, over: Callable[[], bool] | None) -> None:
    """over: given when following; true once nothing more will be written."""
    offset = 0 if asked.tail is None else tail_offset(path, asked.tail)
    times = LogTimes(times_path(path))
    if asked.since is not None:
        times.refresh()
        since = times.since(asked.since)
        offset = max(offset, path.stat().st_size if since is None else since)
    stamper = Stamper(times, offset) if asked.timestamps else None
    left = asked.limit
    with path.open("rb") as file:
        file.seek(offset)
        ended = False
        while left is None or left > 0:
            block = file.read(_CHUNK)
            if block:
                shown = stamper.feed(block) if stamper else block
                shown = shown if left is None else shown[:left]
                await response.write(shown)
                left = None if left is None else left - len(shown)
                continue
            # The end is asked for before the last read, so that what was written in between is not lost.
            if over is None or ended:
                return
            ended = over()
            if not ended:
                await asyncio.sleep(_POLL_SECONDS)
