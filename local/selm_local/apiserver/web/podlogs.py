"""kubectl logs: follow, tailLines, sinceSeconds, sinceTime, limitBytes, timestamps.

A log is a plain file of the container's output, without times of its own. What needs the time of each line
(timestamps, since*) is answered 501, and so is `previous`: containers are not restarted in place.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from aiohttp import ClientConnectionError, web

from selm_local.apiserver import errors
from selm_local.apiserver.logs import PodLogs
from selm_local.apiserver.resources import PODS
from selm_local.apiserver.storage import Object
from selm_local.apiserver.web import options
from selm_local.apiserver.web.objects import Call
from selm_local.apiserver.web.route import is_true

_CHUNK = 64 * 1024
_POLL_SECONDS = 0.2


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


def tail_offset(path: Path, lines: int) -> int:
    """Where the last `lines` lines begin."""
    size = path.stat().st_size
    if lines <= 0:
        return size
    position, left = size, lines
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        if file.read(1) == b"\n":
            position -= 1  # the newline that ends the last line begins no other
        while position > 0:
            start = max(position - _CHUNK, 0)
            file.seek(start)
            block = file.read(position - start)
            at = len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                left -= 1
                if left == 0:
                    return start + at + 1
            position = start
    return 0


async def pod_log(call: Call, logs: PodLogs | None) -> web.StreamResponse:
    stored = call.registry.stored(PODS, call.target.namespace, call.name)
    if logs is None:
        raise errors.not_implemented("logs of pods where no node runs")
    query = call.query
    for name in ("sinceSeconds", "sinceTime", "timestamps", "previous", "stream"):
        if name in query and (name.startswith("since") or is_true(query[name])) and query[name] != "All":
            raise errors.not_implemented(f"the parameter {name} of pods/log")
    container = pick_container(stored.object, query.get("container", ""))
    tail, limit = options.whole_number(query, "tailLines"), options.whole_number(query, "limitBytes")
    follow = is_true(query.get("follow"))
    path = logs.path(stored.copy(), container)
    if not path.exists() and not follow:
        state = container_state(stored.object, container)
        if not state or "waiting" in state:
            reason = (state.get("waiting") or {}).get("reason") or "ContainerCreating"
            raise errors.bad_request(f'container "{container}" in pod "{call.name}" is waiting to start: {reason}')
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(call.request)
    uid = stored.object["metadata"]["uid"]

    def over() -> bool:
        now = call.registry.storage.get(PODS.storage, call.target.namespace or "", call.name)
        if now is None or now.object["metadata"]["uid"] != uid:
            return True
        return "terminated" in container_state(now.object, container)

    try:
        await _send(response, path, tail, limit, over if follow else None)
    except (ClientConnectionError, ConnectionError):
        return response  # the reader went away
    return response


async def _send(
    response: web.StreamResponse, path: Path, tail: int | None, limit: int | None, over: Callable[[], bool] | None
) -> None:
    """over: given when following; true once nothing more will be written."""
    while not path.exists():
        if over is None or over():
            return
        await asyncio.sleep(_POLL_SECONDS)
    offset, left = (0 if tail is None else tail_offset(path, tail)), limit
    with path.open("rb") as file:
        file.seek(offset, os.SEEK_SET)
        ended = False
        while left is None or left > 0:
            block = file.read(_CHUNK if left is None else min(_CHUNK, left))
            if block:
                await response.write(block)
                left = None if left is None else left - len(block)
                continue
            # The end is asked for before the last read, so that what was written in between is not lost.
            if over is None or ended:
                return
            ended = over()
            if not ended:
                await asyncio.sleep(_POLL_SECONDS)
