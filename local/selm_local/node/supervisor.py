"""The process that starts one container of a pod, watches it and writes down how it ended.

    python -m selm_local.node.supervisor <run folder>

It is detached from the cluster's daemon and outlives it, so that neither a running container nor an exit code is
lost when the daemon is killed. Everything it needs stands in `run.json`; what it learns it writes beside it:
`started.json` once the command runs, `exit.json` as its last act. While it lives it holds a lock on `lock`: whoever
can take that lock knows that no supervisor is there.

SIGTERM ends the container: it goes on to the container's first process, and after the grace period that `stop.json`
names, everything of the container is killed. SIGQUIT kills at once.

What a container is here: a process group and all its descendants (this process adopts orphans of theirs), with a
mount and a host name of its own where the machine allows it. Not enforced: cpu limits, and memory except by a look
once a second at the anonymous memory of all its processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any

from selm_local.node import mounts
from selm_local.node.logfile import LogWriter
from selm_local.processes import ProcessId, anonymous_memory, descendants
from selm_local.state import read_json, utc_now, write_json

PR_SET_CHILD_SUBREAPER = 36
MEMORY_CHECK_SECONDS = 1.0
START_ERROR = 128
"""The exit code of a container whose command could not be started, as container runtimes report it."""


class Supervisor:
    """One container's run, from fork to `exit.json`."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.folder = folder
        self.spec = spec
        self.child = 0
        self.status: int | None = None
        self.kill_at: float | None = None
        self.out_of_memory = False
        self.started_at = utc_now()
        self.selector = selectors.DefaultSelector()
        self.log = LogWriter(folder / "log")

    def run(self) -> None:
        """Start the container and stay until nothing of it is left."""
        wakeup, written = os.pipe()
        for end in (wakeup, written):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for obeyed in (signal.SIGCHLD, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(obeyed, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        self.selector.register(wakeup, selectors.EVENT_READ, "signals")
        error = self._start()
        if error is not None:
            os.waitpid(self.child, 0)
            self._finish(START_ERROR, None, "StartError", error)
            return
        own, main = ProcessId.of(os.getpid()), ProcessId.of(self.child)
        write_json(
            self.folder / "started.json",
            {
                "supervisor": own.to_json() if own else None,
                "process": main.to_json() if main else {"pid": self.child},
                "startedAt": self.started_at,
            },
        )
        self._watch(wakeup)
        self._kill_rest()
        self._drain()
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        number = -code if code < 0 else None
        reason = "OOMKilled" if self.out_of_memory else "Completed" if code == 0 else "Error"
        self._finish(128 - code if code < 0 else code, number, reason, None)

    def _start(self) -> str | None:
        """Fork and exec. Returns why the command could not be started, or None."""
        ends = {name: os.pipe() for name in ("stdout", "stderr")}
        failure, tell = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            self._become_container(ends["stdout"][1], ends["stderr"][1], tell)
        os.close(tell)
        for name, (reader, writer) in ends.items():
            os.close(writer)
            os.set_blocking(reader, False)
            self.selector.register(reader, selectors.EVENT_READ, name)
        with os.fdopen(failure, "rb") as pipe:
            told = pipe.read()
        return told.decode(errors="replace") or None

    def _become_container(self, stdout: int, stderr: int, tell: int) -> None:
        """The child's side; never returns."""
        try:
            os.setsid()
            spec = self.spec
            if spec["isolation"] != "none":
                mounts.enter_namespaces(spec["isolation"], spec["hostname"])
                mounts.apply_mounts([mounts.Mount.from_json(one) for one in spec["mounts"]], self.folder / "staging")
            _enter(spec["workingDir"], required=spec["workingDirGiven"])
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
                os.dup2(source, target)
            for number in (
                signal.SIGINT,
                signal.SIGHUP,
                signal.SIGPIPE,
                signal.SIGCHLD,
                signal.SIGTERM,
                signal.SIGQUIT,
            ):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            _execute(spec["argv"], spec["env"])
        except BaseException as error:  # noqa: BLE001 - it is the parent that reports it
            os.write(tell, str(error).encode()[:2000])
        os._exit(START_ERROR)

    def _watch(self, wakeup: int) -> None:
        """Copy logs and obey signals until the container's first process has ended."""
        limit = self.spec.get("memoryLimit")
        next_check = time.monotonic() + MEMORY_CHECK_SECONDS
        while self.status is None:
            now = time.monotonic()
            waits = [at - now for at in (self.kill_at, next_check if limit else None) if at is not None]
            for key, _ in self.selector.select(max(min(waits), 0) if waits else None):
                if key.data == "signals":
                    self._obey(os.read(wakeup, 64))
                else:
                    self._copy(key)
            self._reap()
            now = time.monotonic()
            if self.kill_at is not None and now >= self.kill_at:
                self._kill_all()
                self.kill_at = now + 1
            if limit and now >= next_check:
                next_check = now + MEMORY_CHECK_SECONDS
                if anonymous_memory(descendants(os.getpid())) > int(limit):
                    self.out_of_memory = True
                    self._kill_all()

    def _obey(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers:
            stop = read_json(self.folder / "stop.json") or {}
            deadline = time.monotonic() + float(stop.get("graceSeconds", 30))
            # A second, shorter grace shortens the first; a longer one changes nothing.
            self.kill_at = deadline if self.kill_at is None else min(self.kill_at, deadline)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGTERM)
        if signal.SIGQUIT in numbers:
            self._kill_all()
            self.kill_at = time.monotonic() + 1

    def _reap(self) -> None:
        """Collect ended children: the container's first process and orphans of its descendants."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.child:
                    self.status = status

    def _kill_all(self) -> None:
        # A stopped fork bomb cannot outrun this: what is killed forks no more, and the loop of _kill_rest repeats it.
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _kill_rest(self) -> None:
        """The container ends with its first process: whatever else it started is killed."""
        while True:
            self._kill_all()
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _copy(self, key: selectors.SelectorKey) -> None:
        descriptor = key.fd
        data = os.read(descriptor, 65536)
        if data:
            self.log.write(key.data, data)
        else:
            self.selector.unregister(descriptor)
            os.close(descriptor)

    def _drain(self) -> None:
        """Take what still stands in the pipes; all writers are dead."""
        for key in list(self.selector.get_map().values()):
            if key.data == "signals":
                continue
            with contextlib.suppress(BlockingIOError):
                while data := os.read(key.fd, 65536):
                    self.log.write(key.data, data)
        self.log.close()

    def _finish(self, code: int, number: int | None, reason: str, message: str | None) -> None:
        write_json(
            self.folder / "exit.json",
            {
                "exitCode": code,
                "signal": number,
                "reason": reason,
                "message": message,
                "startedAt": self.started_at,
                "finishedAt": utc_now(),
            },
        )


def _enter(folder: str, *, required: bool) -> None:
    """Change into the working directory; one that nobody asked for may be covered by a mount."""
    try:
        os.chdir(folder)
    except OSError:
        if required:
            raise
        os.chdir("/")


def _execute(argv: list[str], env: dict[str, str]) -> None:
    """Replace this process by the command, found on the container's own PATH."""
    try:
        os.execvpe(argv[0], argv, env)
    except FileNotFoundError:
        where = (
            "no such file or directory"
            if "/" in argv[0]
            else f"executable file not found in PATH {env.get('PATH', '')}"
        )
        raise FileNotFoundError(f'exec: "{argv[0]}": {where}') from None
    except OSError as error:
        raise OSError(f'exec: "{argv[0]}": {error.strerror}') from None


def main(folder: Path) -> int:
    """Supervise the run in `folder`; a run that is over, or has a supervisor already, is left alone."""
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    if (folder / "exit.json").exists() or (folder / "started.json").exists():
        return 0
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Supervisor(folder, json.loads((folder / "run.json").read_bytes())).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
