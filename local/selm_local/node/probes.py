"""Probes of running containers: started, ready, alive.

Source: kubernetes/pkg/kubelet/prober. A startup probe holds the other two back; readiness follows its thresholds both
ways; a failed startup or liveness probe ends the container, and its restart policy says what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from selm_local.controllers.objects import Obj
from selm_local.node.runs import Run
from selm_local.node.sources import NODE_ADDRESS

AGENT = "kube-probe/1.36"
READ_LIMIT = 10 * 1024
"""Bytes of an answer that a failure's message may quote."""
# (type, reason, message) of an event about the pod
Tell = Callable[[str, str, str], Awaitable[None]]


@dataclass
class Verdicts:
    """How a run stands by its probes. started: no startup probe, or it succeeded. ready: may take traffic."""

    started: bool
    ready: bool


@dataclass(frozen=True)
class Probed:
    """One run of a container with probes. stop: ends it, within the grace of the probe that failed (None: the pod's)."""

    container: Obj
    run: Run
    tell: Tell
    stop: Callable[[float | None], None]


class Probes:
    """The probes of one pod. changed: called when a verdict changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._verdicts: dict[str, Verdicts] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def verdicts(self, probed: Probed) -> Verdicts:
        """How the run stands; its probes begin with the first question."""
        key, container = probed.run.key, probed.container
        found = self._verdicts.get(key)
        if found is None:
            waits = "startupProbe" in container
            found = Verdicts(not waits, not waits and "readinessProbe" not in container)
            self._verdicts[key] = found
            if any(name in container for name in ("startupProbe", "readinessProbe", "livenessProbe")):
                self._tasks[key] = asyncio.create_task(self._watch(probed, found), name=f"probes of {key}")
        return found

    def forget(self, key: str) -> None:
        """The run is over."""
        self._verdicts.pop(key, None)
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for key in list(self._tasks):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, probed: Probed, found: Verdicts) -> None:
        container = probed.container
        if "startupProbe" in container:
            if not await self._until_started(probed, container["startupProbe"]):
                return
            found.started = True
            found.ready = "readinessProbe" not in container
            self._changed()
        async with asyncio.TaskGroup() as group:
            if "readinessProbe" in container:
                group.create_task(self._follow_readiness(probed, container["readinessProbe"], found))
            if "livenessProbe" in container:
                group.create_task(self._end_the_dead(probed, container["livenessProbe"]))

    async def _until_started(self, probed: Probed, probe: Obj) -> bool:
        failures = 0
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        while True:
            why = await ask(probed, probe)
            if why is None:
                return True
            failures += 1
            await probed.tell("Warning", "Unhealthy", f"Startup probe failed: {why}")
            if failures >= probe["failureThreshold"]:
                await self._end(probed, probe, "startup")
                return False
            await asyncio.sleep(probe["periodSeconds"])

    async def _follow_readiness(self, probed: Probed, probe: Obj, found: Verdicts) -> None:
        streak = 0
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        while True:
            why = await ask(probed, probe)
            if why is not None:
                await probed.tell("Warning", "Unhealthy", f"Readiness probe failed: {why}")
            good = why is None
            streak = 0 if good == found.ready else streak + 1
            if streak >= probe["successThreshold" if good else "failureThreshold"]:
                found.ready, streak = good, 0
                self._changed()
            await asyncio.sleep(probe["periodSeconds"])

    async def _end_the_dead(self, probed: Probed, probe: Obj) -> None:
        failures = 0
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        while True:
            why = await ask(probed, probe)
            failures = 0 if why is None else failures + 1
            if why is not None:
                await probed.tell("Warning", "Unhealthy", f"Liveness probe failed: {why}")
            if failures >= probe["failureThreshold"]:
                await self._end(probed, probe, "liveness")
                return
            await asyncio.sleep(probe["periodSeconds"])

    async def _end(self, probed: Probed, probe: Obj, kind: str) -> None:
        text = f"Container {probed.container['name']} failed {kind} probe, will be restarted"
        await probed.tell("Normal", "Killing", text)
        probed.stop(probe.get("terminationGracePeriodSeconds"))


async def ask(probed: Probed, probe: Obj) -> str | None:
    """Ask once. None: well; else why not."""
    try:
        async with asyncio.timeout(probe["timeoutSeconds"]):
            if "exec" in probe:
                return await _execute(probed.run, probe["exec"]["command"])
            if "tcpSocket" in probe:
                handler = probe["tcpSocket"]
                _, writer = await asyncio.open_connection(
                    handler.get("host") or NODE_ADDRESS, port_of(probed.container, handler["port"])
                )
                writer.close()
                return None
            return await _get(probed.container, probe["httpGet"])
    except TimeoutError:
        return f"command timed out after {probe['timeoutSeconds']}s" if "exec" in probe else "deadline exceeded"
    except (OSError, aiohttp.ClientError, ValueError) as error:
        return str(error) or type(error).__name__


def port_of(container: Obj, port: int | str) -> int:
    """A port by number or by the name of a container's port. Raises ValueError where there is none of that name."""
    if isinstance(port, int):
        return port
    for one in container.get("ports") or []:
        if one.get("name") == port:
            return int(one["containerPort"])
    raise ValueError(f'couldn\'t find port "{port}" of container {container["name"]}')


async def _get(container: Obj, handler: Obj) -> str | None:
    host = handler.get("host") or NODE_ADDRESS
    url = f"{handler['scheme'].lower()}://{host}:{port_of(container, handler['port'])}{handler['path']}"
    headers = {"User-Agent": AGENT, "Accept": "*/*"}
    headers |= {one["name"]: one.get("value", "") for one in handler.get("httpHeaders") or []}
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer,
    ):
        await answer.content.read(READ_LIMIT)
        return None if 200 <= answer.status < 400 else f"HTTP probe failed with statuscode: {answer.status}"


async def _execute(run: Run, command: list[str]) -> str | None:
    """Run a command beside the container's first process, in its mounts and with its environment."""
    spec: dict[str, Any] = json.loads((run.folder / "run.json").read_bytes())
    started = json.loads((run.folder / "started.json").read_bytes())
    argv = [*entering(spec["isolation"], int(started["process"]["pid"])), *command]
    process = await asyncio.create_subprocess_exec(
        *argv, env=spec["env"], stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return (
        None
        if process.returncode == 0
        else output[:READ_LIMIT].decode(errors="replace").strip()
        or (f"command ended with exit code {process.returncode}")
    )


def entering(isolation: str, pid: int) -> list[str]:
    """The words before a command that is to run within a container's name spaces."""
    if isolation == "none":
        return []
    entered = ["--user", "--preserve-credentials"] if isolation == "user" else []
    return [shutil.which("nsenter") or "nsenter", "--target", str(pid), "--mount", "--uts", *entered, "--"]
