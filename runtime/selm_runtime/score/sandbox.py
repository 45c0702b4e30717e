"""Running code that nobody has read: one short Python process that cuts itself off, and a verdict from outside.

What the process gives up before the foreign code starts is said, and done, in `sandbox_child`. This side starts it with
an environment of two names and a folder of its own, waits until it says that it is ready, lets it run for its time, ends
it, and removes the folder. Meanwhile the scorer itself, which holds keys and the network, lets no process of its user
look into it (PR_SET_DUMPABLE), which holds on kernels without Landlock, too.

**The verdict.** The program passed if a word came back that was made up for this execution. It lies in no object,
frame or file of the process while the foreign code runs: the interpreter runs interactively (`-i`), so that nothing of
ours is on the stack below the program, and reads the statement that sends the word only after the program's statement
has ended; until then its line lies in the C library's buffer. A program that leaves, raises, walks frames and objects,
or repeats what it can read, finds nothing to send. **No check inside a process holds against a program that is written
against it**: one that reads its own memory (ctypes), or traces what the interpreter does next, can forge a pass, as one
can whose objects claim to be equal to everything.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import platform
import secrets
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.score import sandbox_child
from selm_runtime.score.sandbox_child import NO_SANDBOX, READY

START_SECONDS = 120.0
"""What a process may take until it is ready, on a busy machine: no part of the execution's own limit."""
POLL_SECONDS = 0.2
"""How often an execution looks whether the phase is to end."""
CHILD = Path(sandbox_child.__file__)

_STATEMENTS = """\
try: exec(program, names)
except: ok = 0
else: ok = 1

if ok: import posix; posix.write({report}, b"{word}")

import posix; posix._exit(0)
"""
"""What the interpreter reads after `sandbox_child`, statement by statement: less than a pipe passes on at once.

Neither a bare `except` nor a branch looks a name up, so a program cannot change what they do and then fail.
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Of one execution."""

    seconds: int
    memory_mebibytes: int


def all_pass(programs: Sequence[str], limits: Limits, between: Callable[[], None] = lambda: None) -> list[bool]:
    """Whether each program runs to its end within the limits, without an exception.

    Leaving early (`sys.exit(0)`) is no pass. As many run at a time as there are processors. `between` is called while
    they do: it may raise to stop, which ends them. Raises InvalidInput where the machine cannot cut them off,
    TemporaryFailure where no process starts.
    """
    if platform.system() != "Linux":
        raise _no_sandbox()
    stopped = threading.Event()
    with _closed_to_others(), ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        futures = [pool.submit(_passes, program, limits, stopped) for program in programs]
        try:
            running = set(futures)
            while running:
                done, running = wait(running, timeout=POLL_SECONDS)
                for future in done:
                    future.result()
                between()
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _passes(program: str, limits: Limits, stopped: threading.Event) -> bool:
    word = secrets.token_hex(16).encode()
    folder = tempfile.mkdtemp(prefix="selm-sandbox-")
    reader, writer = os.pipe()
    code = os.memfd_create("program")
    try:
        with os.fdopen(os.dup(code), "wb") as file:
            file.write(program.encode("utf-8", "surrogatepass"))
        os.lseek(code, 0, os.SEEK_SET)
        settings = {
            "program": code,
            "report": writer,
            "parent": os.getpid(),
            "seconds": limits.seconds,
            "memory": limits.memory_mebibytes << 20,
        }
        process = subprocess.Popen(
            [sys.executable, "-I", "-i", str(CHILD), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"HOME": folder, "TMPDIR": folder},
            pass_fds=(code, writer),
            start_new_session=True,
        )
        try:
            os.close(writer)
            writer = -1
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin:  # it ended: the wait for its report says why
                process.stdin.write(_STATEMENTS.format(report=settings["report"], word=word.decode()).encode())
            return _verdict(process, reader, word, limits, stopped)
        finally:
            process.kill()  # it has no children
            process.wait()
    finally:
        for held in (reader, code, *([writer] if writer >= 0 else [])):
            os.close(held)
        _remove(folder)


def _verdict(
    process: subprocess.Popen[bytes], report: int, word: bytes, limits: Limits, stopped: threading.Event
) -> bool:
    """Waits for the process to be ready, then for the word, as long as the limits let it."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    said, deadline = b"", time.monotonic() + START_SECONDS
    while len(said) < 1 + len(word):
        left = deadline - time.monotonic()
        if stopped.is_set() or (left <= 0 and said):
            return False
        if left <= 0:
            raise TemporaryFailure(
                "SandboxNotStarted", f"an execution's process was not ready after {START_SECONDS:g} s; nothing was run"
            )
        if not poll.poll(1000 * min(left, POLL_SECONDS)):
            continue
        piece = os.read(report, 1 + len(word) - len(said))
        if not piece:
            break
        if not said:
            deadline = time.monotonic() + limits.seconds
            if piece[:1] != READY:
                _say_no_landlock()
        said += piece
    if not said:
        if process.wait() == NO_SANDBOX:
            raise _no_sandbox()
        raise TemporaryFailure(
            "SandboxNotStarted",
            f"an execution's process ended with {process.returncode} before it was ready; nothing was run",
        )
    return said[1:] == word


def _no_sandbox() -> InvalidInput:
    return InvalidInput(
        "NoSandbox",
        "spec.scoring.scorers: execution needs Linux on x86-64 or 64-bit ARM with seccomp filters, which this machine does "
        "not allow; nothing was run",
    )


@cache
def _say_no_landlock() -> None:
    _log.warning(
        "the kernel has no Landlock: code under test can read and write files as this pod's user can (docs/scoring.md)"
    )


@contextmanager
def _closed_to_others() -> Iterator[None]:
    """Meanwhile no process of the same user may trace this one or read its memory and environment under /proc."""
    libc = ctypes.CDLL(None)
    before = libc.prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    try:
        yield
    finally:
        libc.prctl(4, before, 0, 0, 0)


def _remove(folder: str) -> None:
    """Removes it with what rmtree stops at, too: folders without rights, or nested deeper than paths may be long.

    A folder within a folder is moved up, so nothing is ever deeper than two.
    """
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, 0o700)
                    os.rename(inner.path, os.path.join(folder, secrets.token_hex(16)))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)
    os.rmdir(folder)
