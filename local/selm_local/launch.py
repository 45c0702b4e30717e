"""Starting and stopping detached daemons, one record each in the state folder's `run/`."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selm_local.processes import ProcessId
from selm_local.state import StateDir, read_json, utc_now, write_json

STOP_SECONDS = 20.0
READY_SECONDS = 90.0
POLL_SECONDS = 0.05
# Starts the daemon from a process that ends at once: it becomes nobody's child, and nobody's zombie.
_INTERMEDIATE = """
import json, subprocess, sys
given = json.load(sys.stdin)
with open(given["log"], "ab") as log:
    child = subprocess.Popen(given["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True, cwd=given["cwd"])
print(child.pid)
"""


class LocalError(Exception):
    """The embedded cluster cannot do what was asked; the message says why and what helps."""


@dataclass(frozen=True)
class Daemon:
    """One daemon by name: its record is `run/<name>.json`, its log `logs/<name>.log`."""

    state: StateDir
    name: str

    @property
    def log(self) -> Path:
        return self.state.logs / f"{self.name}.log"

    @property
    def record(self) -> dict[str, Any]:
        """What was written at its last start; empty before the first."""
        found: dict[str, Any] = read_json(self._path) or {}
        return found

    @property
    def process(self) -> ProcessId | None:
        """The running process, known by pid and start time; None where a record is stale or absent."""
        found = ProcessId.from_json(self.record.get("process"))
        return found if found is not None and found.alive else None

    def start(self, command: list[str], env: Mapping[str, str], facts: Mapping[str, Any]) -> ProcessId:
        """Start it detached and record it with `facts`.

        Raises:
            LocalError: the command cannot be started.
        """
        given = json.dumps({"command": command, "log": str(self.log), "cwd": str(self.state.root)})
        started = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _INTERMEDIATE],
            input=given,
            capture_output=True,
            text=True,
            env=dict(env),
            check=False,
        )
        if started.returncode != 0:
            raise LocalError(f"{self.name} cannot be started: {started.stderr.strip()}")
        process = ProcessId.of(int(started.stdout))
        if process is None:
            raise LocalError(f"{self.name} ended at once; its log says:\n{self.last_words()}")
        write_json(self._path, {"process": process.to_json(), "startedAt": utc_now(), **facts})
        return process

    def wait_until(self, ready: Callable[[], bool], process: ProcessId, seconds: float = READY_SECONDS) -> None:
        """Wait until `ready` answers yes.

        Raises:
            LocalError: the process ended before, or did not become ready in time.
        """
        end = time.monotonic() + seconds
        while not ready():
            if not process.alive:
                raise LocalError(f"{self.name} ended while it started; its log {self.log} says:\n{self.last_words()}")
            if time.monotonic() > end:
                raise LocalError(f"{self.name} is not ready after {seconds:.0f} s; see its log {self.log}")
            time.sleep(POLL_SECONDS)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it: SIGTERM, then SIGKILL. A stale record harms nobody: the start time must agree."""
        process = self.process
        if process is None:
            return
        process.send(signal.SIGTERM)
        end = time.monotonic() + seconds
        while process.alive:
            if time.monotonic() > end:
                process.send(signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    def last_words(self, lines: int = 15) -> str:
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    @property
    def _path(self) -> Path:
        return self.state.run / f"{self.name}.json"


PORTS = range(20000, 30000)
"""Below the range from which the system takes ports of outgoing connections: a stopped daemon finds its own free."""
PORT_SECONDS = 3.0
"""A process that was killed may hold its port for a moment longer than it lives, while its threads end."""


def choose_port(kept: int | None, what: str, host: str = "127.0.0.1") -> int:
    """The port that was used before, so that addresses in users' objects stay right; else any free one of PORTS.

    Raises:
        LocalError: the kept port is taken by somebody else, or no port is free.
    """
    if kept is not None:
        refusal = _refusal(host, kept)
        until = time.monotonic() + PORT_SECONDS
        while refusal is not None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            refusal = _refusal(host, kept)
        if refusal is not None:
            raise LocalError(
                f"port {kept} of {what} is taken by another process ({refusal.strerror}); end that process, or remove "
                "`port` from the record in the state folder's run/ so that another port is chosen"
            )
        return kept
    free = next((port for port in random.sample(PORTS, len(PORTS)) if _refusal(host, port) is None), None)
    if free is None:
        raise LocalError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free for {what}")
    return free


def _refusal(host: str, port: int) -> OSError | None:
    """Why a port cannot be listened on; None where it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None
