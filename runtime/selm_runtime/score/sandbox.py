"""Running code that nobody has read: one short Python process with limits, and no way to the network.

The process cuts itself off before the foreign code starts: limits of memory, processor time, file size and open files,
and a seccomp filter under which it can neither make a socket, start another process or program, nor send a signal. It
gets no environment, an empty working folder, and is killed with its session when its time is up. Filters of this kind
need no privilege, so they hold in restricted pods, too.

What it does **not** isolate: the foreign code can read what the pod's user can read (the image's files, mounted volumes,
and under /proc what the kernel lets one process of a user see of another), and write where that user can. It has no
way to send it anywhere. Linux on x86-64 or 64-bit ARM only.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from selm_runtime.errors import InvalidInput

NO_SANDBOX = 97
"""The process' exit code where the kernel refuses the filter."""
START_SECONDS = 5.0
"""What an interpreter may take to start, beside the execution's own limit."""

_CHILD = r"""
import ctypes, os, platform, resource, struct, sys

def deny(numbers, clone, arch):
    class Filter(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.POINTER(Filter))]
    load, equal, above, some, ret = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, missing, kill = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
    code = [(load, 0, 0, 4), (equal, 1, 0, arch), (ret, 0, 0, kill), (load, 0, 0, 0)]
    code += [(above, 0, 1, 0x40000000), (ret, 0, 0, refuse)]
    code += [(equal, 0, 1, 435), (ret, 0, 0, missing)]
    for number in numbers:
        code += [(equal, 0, 1, number), (ret, 0, 0, refuse)]
    code += [(equal, 0, 3, clone), (load, 0, 0, 16), (some, 1, 0, 0x10000), (ret, 0, 0, refuse), (ret, 0, 0, allow)]
    filters = (Filter * len(code))(*(Filter(*line) for line in code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Program(len(code), filters)), 0, 0):
        os._exit(97)

def main():
    seconds, memory, done = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    word, _, program = sys.stdin.buffer.read().partition(b"\n")
    for what, most in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds + 1), (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    machine = platform.machine()
    if machine == "x86_64":
        deny((41, 57, 58, 59, 62, 101, 109, 112, 165, 200, 234, 250, 272, 298, 308, 310, 311, 321, 322, 323, 424, 425, 434),
             56, 0xC000003E)
    elif machine == "aarch64":
        deny((198, 221, 129, 117, 154, 157, 40, 130, 131, 219, 97, 241, 268, 270, 271, 280, 281, 282, 424, 425, 434),
             220, 0xC00000B7)
    else:
        os._exit(97)
    code = compile(program.decode("utf-8", "surrogatepass"), "response", "exec")
    exec(code, {"__name__": "response", "__builtins__": __builtins__})
    os.write(done, word)
    os._exit(0)

main()
"""
"""Linux's numbers: 435 is clone3, which answers "no such call" so that threads fall back to clone with CLONE_THREAD."""


@dataclass(frozen=True)
class Limits:
    """Of one execution."""

    seconds: int
    memory_mebibytes: int


def passes(program: str, limits: Limits) -> bool:
    """Whether the program runs to its end within the limits, without an exception.

    Leaving early (`sys.exit(0)`) is no pass. Raises InvalidInput where the machine cannot cut it off.
    """
    word = secrets.token_hex(16).encode()
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="selm-sandbox-") as folder, os.fdopen(reader, "rb") as done:
        try:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-c",
                    _CHILD,
                    *map(str, (limits.seconds, limits.memory_mebibytes << 20, writer)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={},
                pass_fds=(writer,),
                start_new_session=True,
            )
        finally:
            os.close(writer)
        try:
            process.communicate(word + b"\n" + program.encode("utf-8", "surrogatepass"), limits.seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _kill(process)
        if process.returncode == NO_SANDBOX:
            raise InvalidInput(
                "NoSandbox",
                "spec.scoring.scorers: execution needs Linux on x86-64 or 64-bit ARM with seccomp filters, which this "
                "machine does not allow; nothing was run",
            )
        return done.read(len(word) + 1) == word


def all_pass(programs: Sequence[str], limits: Limits) -> list[bool]:
    """`passes` of each, as many at a time as there are processors."""
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(lambda program: passes(program, limits), programs))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole session, and waits for its end."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
