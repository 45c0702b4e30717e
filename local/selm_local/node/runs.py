"""Runs of containers on disk: `pods/<uid>/containers/<name>/<restart>/`, one folder a run.

`run.json` is written by the node, everything else by the run's supervisor (see there). The state of a run is read
from the folder alone, so that a new daemon knows as much as the one before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selm_local.processes import ProcessId, with_environment
from selm_local.state import read_json, utc_now, write_json

ENV_RUN = "SELM_LOCAL_RUN"
"""In the environment of every process of a run: finds them all, also those whose supervisor was killed."""
UNKNOWN_EXIT = 137
Phase = Literal["absent", "prepared", "running", "exited"]


@dataclass(frozen=True)
class RunState:
    """absent: no such run. prepared: to be started. running: the command runs. exited: nothing of it is left."""

    phase: Phase
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Run:
    """One run of one container. key: unique on this machine."""

    folder: Path
    key: str

    def prepare(self, spec: dict[str, Any]) -> None:
        """Write down what is to be run; `spec["env"]` gets the marker of this run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        env = {**spec["env"], ENV_RUN: self.key}
        write_json(self.folder / "run.json", {**spec, "env": env})

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the run's supervisor, detached. A second one finds the lock taken and ends at once."""
        with open(self.folder / "supervisor.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "selm_local.node.supervisor", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    def state(self) -> RunState:
        """The run's state by its folder; a run whose supervisor was killed is cleaned up and has exited."""
        if (state := self._exited()) is not None:
            return state
        started = read_json(self.folder / "started.json")
        if started is None:
            return RunState("prepared" if (self.folder / "run.json").exists() else "absent")
        if self.supervised():
            return RunState("running", started_at=started["startedAt"])
        # The lock is free: either it ended between the two looks, or its supervisor was killed.
        return self._exited() or self._give_up(started)

    def supervised(self) -> bool:
        """Whether a supervisor holds the run's lock."""
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def supervisor(self) -> ProcessId | None:
        """The supervisor's process, where it has said so; None before that and once it is gone."""
        started = read_json(self.folder / "started.json")
        found = ProcessId.from_json((started or {}).get("supervisor"))
        return found if found is not None and found.alive else None

    def cancel(self) -> bool:
        """Make sure that a prepared run is never started. False: a supervisor is about to start it."""
        lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (self.folder / "started.json").exists():
                self._write_exit(UNKNOWN_EXIT, "ContainerStatusUnknown", "The pod ended before the container started.")
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def fail_to_start(self, message: str) -> None:
        """Record that the run's supervisor itself could not start."""
        self._write_exit(128, "StartError", message)

    def stop(self, grace_seconds: float) -> None:
        """Ask the run to end: SIGTERM now, SIGKILL for what is left after the grace period. May be repeated."""
        write_json(self.folder / "stop.json", {"graceSeconds": grace_seconds})
        supervisor = self.supervisor()
        if supervisor is not None:
            supervisor.send(signal.SIGTERM if grace_seconds > 0 else signal.SIGQUIT)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def termination_log(self) -> Path:
        return self.folder / "termination-log"

    def _exited(self) -> RunState | None:
        exit_ = read_json(self.folder / "exit.json")
        if exit_ is None:
            return None
        return RunState(
            "exited",
            started_at=exit_["startedAt"],
            finished_at=exit_["finishedAt"],
            exit_code=exit_["exitCode"],
            signal=exit_["signal"],
            reason=exit_["reason"],
            message=exit_["message"],
        )

    def _give_up(self, started: dict[str, Any]) -> RunState:
        """End a run without a supervisor: kill what is left of it and say that its exit code is not known."""
        kill_marked(self.key)
        message = "The container's supervisor was killed; the container was ended and its exit code is lost."
        self._write_exit(UNKNOWN_EXIT, "ContainerStatusUnknown", message, started["startedAt"])
        state = self._exited()
        assert state is not None
        return state

    def _write_exit(self, code: int, reason: str, message: str, started_at: str | None = None) -> None:
        now = utc_now()
        write_json(
            self.folder / "exit.json",
            {
                "exitCode": code,
                "signal": None,
                "reason": reason,
                "message": message,
                "startedAt": started_at or now,
                "finishedAt": now,
            },
        )


@dataclass(frozen=True)
class PodFolder:
    """The folder of one pod: `root` is `pods/<uid>`."""

    root: Path

    @property
    def uid(self) -> str:
        return self.root.name

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    @property
    def hosts(self) -> Path:
        return self.root / "hosts"

    @property
    def work(self) -> Path:
        """The working directory of containers that name none."""
        return self.root / "work"

    @property
    def shutdown(self) -> Path:
        """There while the pod was ended by the shutdown of its node."""
        return self.root / "shutdown.json"

    def run(self, container: str, restart: int) -> Run:
        return Run(self.root / "containers" / container / str(restart), f"{self.uid}/{container}/{restart}")

    def last_run(self, container: str) -> tuple[int, Run] | None:
        """The newest run of a container and its number of restarts; None where there is none."""
        folder = self.root / "containers" / container
        try:
            numbers = [int(name) for name in os.listdir(folder) if name.isdigit()]
        except FileNotFoundError:
            return None
        return (max(numbers), self.run(container, max(numbers))) if numbers else None

    def runs(self) -> list[Run]:
        """Every run of every container."""
        found = []
        for path in sorted(self.root.glob("containers/*/*")):
            found.append(self.run(path.parent.name, int(path.name)))
        return found

    def kill(self, wait: Callable[[], None]) -> None:
        """End everything of the pod at once. `wait` is called between looks until nothing is left."""
        for run in self.runs():
            run.stop(0)
            while run.supervised():
                run.stop(0)
                wait()
            kill_marked(run.key)

    def remove(self) -> None:
        """Remove the folder of a pod whose processes are gone."""
        shutil.rmtree(self.root, ignore_errors=True)


def kill_marked(key: str) -> None:
    """Kill every process that carries the run's marker, until there is none."""
    while pids := with_environment(ENV_RUN, key):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
