"""The sandbox of the execution scorer: what runs in it, what gets out of it, and how a verdict is come by."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.score import sandbox
from selm_runtime.score.sandbox import Limits, all_pass
from selm_runtime.score.sandbox_child import MACHINES, filter_of

LIMITS = Limits(seconds=60, memory_mebibytes=512)
T = TypeVar("T")
REFUSED = """
import ctypes, errno, os, platform
libc = ctypes.CDLL(None, use_errno=True)
def refused(x86, arm, *arguments, number=errno.EPERM):
    ctypes.set_errno(0)
    found = libc.syscall(x86 if platform.machine() == "x86_64" else arm, *arguments)
    assert (found, ctypes.get_errno()) == (-1, number), (found, ctypes.get_errno())
def denied(what, *arguments, **named):
    try:
        what(*arguments, **named)
    except (PermissionError, FileNotFoundError):
        return
    raise AssertionError(what)
scorer = os.getppid()
"""
"""Names for programs that pass only where something is not permitted. A missing number (None) exists on x86-64 alone."""


def outcomes(programs: dict[str, str], limits: Limits = LIMITS) -> dict[str, bool]:
    return dict(zip(programs, all_pass(list(programs.values()), limits), strict=True))


def test_what_programs_need_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    programs = {
        "a plain program": "assert sum(range(10)) == 45",
        "the standard library": "import json, re, math, ssl, sqlite3, bz2; assert json.loads('[1]') == [1]",
        "a package of the image": "import numpy as np; assert (np.ones((9, 9)) @ np.ones(9)).sum() == 81",
        "threads": "import threading; r = []; t = threading.Thread(target=r.append, args=(1,)); t.start(); t.join()\n"
        "assert r\nfrom concurrent.futures import ThreadPoolExecutor as Pool\n"
        "with Pool(3) as pool: assert list(pool.map(abs, [-1, 2])) == [1, 2]",
        "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 3\nassert asyncio.run(f()) == 3",
        "files of its own": "import os, tempfile\nos.mkdir('d'); open('d/x', 'w').write('y'); os.rename('d/x', 'z')\n"
        "assert open('z').read() == 'y'\n"
        "with tempfile.NamedTemporaryFile() as file: assert os.path.dirname(file.name) == os.getcwd()",
        "devices": "open('/dev/null', 'w').write('x'); assert len(open('/dev/urandom', 'rb').read(3)) == 3; print(1)",
        "signals to itself": "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)\n"
        "def end(*_): raise TimeoutError\nsignal.signal(signal.SIGALRM, end); signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
        "try:\n    import time; time.sleep(30)\nexcept TimeoutError: pass\nelse: raise AssertionError",
        "a module": "from __future__ import annotations\nimport dataclasses, pickle, typing\n@dataclasses.dataclass\n"
        "class A:\n    x: int = 2\nassert pickle.loads(pickle.dumps(A())).x == 2\n"
        "assert typing.get_type_hints(A) == {'x': int}\nassert __name__ != '__main__'",
        "an empty input": "import sys; assert sys.stdin.read() == '' and len(sys.argv) == 1",
        "hardly an environment": "import os; assert set(os.environ) <= {'HOME', 'TMPDIR', 'LC_CTYPE'}\n"
        "assert os.environ['HOME'] == os.getcwd()",
        "lower limits of its own": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))",
    }
    assert [name for name, passed in outcomes(programs).items() if not passed] == []


def test_what_does_not_run_to_its_end_fails() -> None:
    programs = {
        "an exception": "assert 1 == 2",
        "no Python": "def (",
        "leaving early with success": "import sys; sys.exit(0)",
        "leaving at once with success": "import os; os._exit(0)",
        "leaving as a machine without filters would": "import os; os._exit(97)",
        "too much memory": "x = bytearray(1 << 30)",
        "a large file": "open('x', 'wb').write(b'x' * (8 << 20))",
        "ending itself": "import os; os.abort()",
    }
    assert [name for name, passed in outcomes(programs).items() if passed] == []


# --- what gets out -------------------------------------------------------------------------------------------------

CALLS = {
    "no socket": "refused(41, 198, 2, 1, 0)",
    "no datagrams, which could be addressed": "refused(53, 199, 1, 2, 0, (ctypes.c_int * 2)())",
    "no other process": "denied(os.fork); refused(56, 220, 17, 0, 0, 0, 0)",
    "no process by the other call": "refused(435, 435, 0, 0, number=errno.ENOSYS)",
    "no namespace of a thread": "refused(56, 220, 0x10010000, 0, 0, 0, 0)",
    "no other program": "denied(os.execv, '/bin/true', ['true']); refused(322, 281, 0, 0, 0, 0, 0)",
    "no subprocess": "import subprocess; denied(subprocess.run, ['true'])",
    "no session": "denied(os.setsid); refused(109, 154, 0, 0)",
    "no signal (kill)": "denied(os.kill, scorer, 0); denied(os.kill, 0, 0); denied(os.kill, -1, 0)",
    "no signal (tgkill, tkill)": "refused(234, 131, scorer, scorer, 0); refused(200, 130, scorer, 0)",
    "no signal (rt_sigqueueinfo)": "refused(129, 138, scorer, 0, bytes(128))",
    "no signal (rt_tgsigqueueinfo)": "refused(297, 240, scorer, scorer, 0, bytes(128))",
    "no signal (pidfd)": "refused(434, 434, scorer, 0); refused(424, 424, 0, 0, 0, 0)",
    "no signal (the owner of a file)": "import fcntl; denied(fcntl.fcntl, 0, fcntl.F_SETOWN, scorer)",
    "no tracing": "refused(101, 117, 16, scorer, 0, 0)",
    "no memory of others": "refused(310, 270, scorer, 0, 0, 0, 0, 0); refused(311, 271, scorer, 0, 0, 0, 0, 0)",
    "no files of others": "refused(438, 438, 0, 0, 0)",
    "no limits of others": "refused(302, 261, scorer, 7, bytes(16), 0)",
    "no places of others": "refused(203, 122, scorer, 8, bytes(8)); refused(141, 140, 0, scorer, 5)",
    "no shared memory": "refused(29, 194, 0, 4096, 0o1600); refused(30, 196, 0, 0, 0); refused(31, 195, 0, 0, 0)",
    "no queues, no semaphores": "refused(68, 186, 0, 0o1600); refused(64, 190, 0, 1, 0o1600); refused(240, 180, b'/q', 66)",
    "no mounts": "refused(165, 40, 0, 0, 0, 0, 0); refused(272, 97, 0x10000000); refused(308, 268, 0, 0)",
    "no other root": "denied(os.chroot, '.')",
    "no keys, no programs in the kernel": "refused(250, 219, 0, 0); refused(321, 280, 0, 0, 0); refused(425, 425, 1, 0)",
    "no other user": "refused(105, 146, 0); refused(126, 91, 0, 0)",
    "nobody may look in again": "refused(157, 167, 4, 1, 0, 0, 0)",
    "no modes, owners, times, attributes": "denied(os.chmod, '.', 0o777); denied(os.chown, '.', -1, -1)\n"
    "denied(os.utime, '.'); denied(os.setxattr, '.', 'user.a', b'b')",
    "no truncation by name": "open('x', 'w').close(); denied(os.truncate, 'x', 0)\n"
    "denied(os.open, 'x', os.O_RDONLY | os.O_TRUNC)",
    "no control of devices": "import fcntl; denied(fcntl.ioctl, 1, 0x5412, b'x')",
}


def test_system_calls_that_reach_out_are_refused() -> None:
    found = outcomes({name: REFUSED + program for name, program in CALLS.items()})
    assert [name for name, passed in found.items() if not passed] == []


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of this user."""
    process = subprocess.Popen(["sleep", "600"], env={"BYSTANDER": "secret"})
    yield process
    process.kill()
    process.wait()


LOOKS = {
    "its memory": "denied(open, f'/proc/{them}/mem', 'r+b', buffering=0)",
    "its environment": "denied(open, f'/proc/{them}/environ', 'rb')",
    "its maps": "denied(open, f'/proc/{them}/maps', 'rb')",
    "its files": "denied(os.readlink, f'/proc/{them}/fd/0'); denied(open, f'/proc/{them}/fd/0')",
}


def looks(pid: int) -> dict[str, str]:
    return {name: f"{REFUSED}\nthem = {pid}\n{program}" for name, program in LOOKS.items()}


@pytest.fixture
def landlock() -> None:
    if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) <= 0:  # landlock_create_ruleset: its version
        pytest.skip("the kernel has no Landlock")


@pytest.mark.usefixtures("landlock")
def test_nobody_elses_memory_and_environment_are_seen(bystander: subprocess.Popen[bytes]) -> None:
    for pid in (os.getpid(), bystander.pid):
        assert [name for name, passed in outcomes(looks(pid)).items() if not passed] == []
    assert bystander.poll() is None


@pytest.mark.usefixtures("landlock")
def test_files_outside_are_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    places = [str(tmp_path), tempfile.gettempdir(), "/dev/shm", "/proc", "/var/run"]
    programs = {f"written: {place}": f"{REFUSED}\ndenied(open, {place + '/left-by-a-test'!r}, 'w')" for place in places}
    programs |= {
        "read": f"{REFUSED}\ndenied(open, {str(tmp_path / 'secret')!r})",
        "read through a link": f"{REFUSED}\nos.symlink({str(tmp_path / 'secret')!r}, 'x'); denied(open, 'x')",
        "a link to it": f"{REFUSED}\ntry:\n    os.link({str(tmp_path / 'secret')!r}, 'x')\nexcept OSError: pass\n"
        "else: raise AssertionError",
        "listed": f"{REFUSED}\ndenied(os.listdir, {str(tmp_path)!r})",
        "removed": f"{REFUSED}\ndenied(os.unlink, {str(tmp_path / 'secret')!r})",
        "its own process": f"{REFUSED}\ndenied(open, '/proc/self/mem', 'rb'); denied(open, '/proc/self/environ')",
    }
    assert [name for name, passed in outcomes(programs).items() if not passed] == []
    assert (tmp_path / "secret").read_text() == "mine"


def changed_child(monkeypatch: pytest.MonkeyPatch, folder: Path, old: str, new: str) -> None:
    """Lets the sandbox run its side with one thing changed."""
    text = sandbox.CHILD.read_text()
    assert text.count(old) == 1
    changed = folder / "changed_child.py"
    changed.write_text(text.replace(old, new))
    monkeypatch.setattr(sandbox, "CHILD", changed)


def without_landlock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    changed_child(monkeypatch, folder, "    if version <= 0:", "    if True:")


def test_without_landlock_the_scorer_is_closed_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_landlock(monkeypatch, tmp_path)
    sandbox._say_no_landlock.cache_clear()
    assert [name for name, passed in outcomes(looks(os.getpid())).items() if not passed] == []
    assert [record.message for record in caplog.records if "no Landlock" in record.message] == [
        "the kernel has no Landlock: code under test can read and write files as this pod's user can (docs/scoring.md)"
    ]
    assert outcomes({"other files are not": f"open({str(tmp_path / 'x')!r}, 'w').write('y')"}) == {
        "other files are not": True
    }


def test_the_scorer_may_be_looked_into_again_afterwards() -> None:
    libc = ctypes.CDLL(None)
    before = libc.prctl(3, 0, 0, 0, 0)
    seen: list[int] = []
    all_pass(["pass"], LIMITS, lambda: seen.append(libc.prctl(3, 0, 0, 0, 0)))
    assert set(seen) == {0}
    assert libc.prctl(3, 0, 0, 0, 0) == before


NOBODY = """
import os, sys
os.environ["TMPDIR"] = sys.argv[1]
from selm_runtime.score.sandbox import CHILD, Limits, all_pass
import json, pathlib
from selm_runtime.score import sandbox
programs = json.loads(sys.stdin.read().replace("THIS", str(os.getpid())))
limits = Limits(60, 512)
assert os.getuid() == 65534 and "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
with_landlock = all_pass(list(programs.values()), limits)
sandbox.CHILD = pathlib.Path(sys.argv[2])
print(json.dumps([with_landlock, all_pass(list(programs.values()), limits)]))
"""


AS_NOBODY: dict[str, Any] = {
    "user": 65534,
    "group": 65534,
    "extra_groups": [],
    "cwd": "/",
    "env": {
        "PYTHONPATH": ":".join([str(sandbox.CHILD.parents[2]), *(p for p in sys.path if p.endswith("site-packages"))])
    },
}


def python_of_nobody() -> str:
    """An interpreter of this version that any user can run: this one may lie in root's home."""
    version = f"import sys, selm_runtime.score.sandbox; assert sys.version_info[:2] == {sys.version_info[:2]}"
    for python in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        with suppress(OSError):
            if not subprocess.run([python, "-c", version], check=False, capture_output=True, **AS_NOBODY).returncode:
                return python
    pytest.skip("only root can run this interpreter, and there is no other of its version")


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: the other tests run as such a user already")
def test_it_holds_for_a_user_without_any_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        without_landlock(monkeypatch, Path(folder))
        programs = {name: REFUSED + program for name, program in CALLS.items()}
        programs |= {name: program.replace("them = 0", "them = THIS") for name, program in looks(0).items()}
        python = python_of_nobody()
        command = [python, "-c", NOBODY, folder, str(sandbox.CHILD)]
        run = subprocess.run(
            command, input=json.dumps(programs), text=True, capture_output=True, check=False, **AS_NOBODY
        )
        assert run.returncode == 0, run.stderr
        for found in json.loads(run.stdout):
            assert [name for name, passed in zip(programs, found, strict=True) if not passed] == []


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    programs = {
        "a file": "open('x', 'w').write('y')",
        "a folder that nobody may enter": "import os; os.mkdir('x'); open('x/y', 'w'); os.mkdir('x/z', 0)",
        "folders deeper than paths may be": "import os\nfor _ in range(3000): os.mkdir('a'); os.chdir('a')",
        "a link": "import os; os.symlink('/', 'x')",
    }
    assert all(outcomes(programs).values())
    assert os.listdir(tmp_path) == []
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1


# --- the verdict -----------------------------------------------------------------------------------------------------

FORGERIES = {
    "the caller's frame": "import os, sys\nframe = sys._getframe(1).f_locals\nos.write(frame['done'], frame['word'])",
    "any frame": """
import os, sys
def bytes_in(x, depth=0):
    if isinstance(x, str): yield x.encode()
    elif isinstance(x, (bytes, bytearray)): yield bytes(x)
    elif isinstance(x, dict) and depth < 3:
        for pair in list(x.items()):
            for y in pair: yield from bytes_in(y, depth + 1)
    elif isinstance(x, (list, tuple, set, frozenset)) and depth < 3:
        for y in list(x): yield from bytes_in(y, depth + 1)
frame = sys._getframe()
while frame is not None:
    for found in bytes_in([dict(frame.f_locals), dict(frame.f_globals), frame.f_code.co_consts]):
        send(found)
    frame = frame.f_back
""",
    "any object": """
import gc, os, types
gc.collect()
for x in gc.get_objects():
    for y in [x, *gc.get_referents(x)]:
        for z in [y, *(y.co_consts if isinstance(y, types.CodeType) else ())]:
            if isinstance(z, str): send(z.encode("utf-8", "replace"))
            elif isinstance(z, (bytes, bytearray)): send(bytes(z))
""",
    "what can be read": """
import os, sys
for fd in range(64):
    try: os.set_blocking(fd, False)
    except OSError: continue
    for start in (None, 0):
        try:
            if start is not None: os.lseek(fd, 0, 0)
            send(os.read(fd, 1 << 20))
        except OSError: pass
for x in [*sys.argv, *sys.orig_argv, *os.environ.values()]: send(x.encode())
send(sys.stdin.read().encode())
""",
    "something made up": "for _ in range(9): send(b'0' * 32)",
    "other names for what comes after a failure": """
import builtins, os, posix
builtins.BaseException = builtins.Exception = ValueError
builtins.exec = builtins.__import__ = lambda *a, **k: posix
os._exit = posix._exit = lambda *a: None
1 / 0
""",
    "a failure in a failure": "import sys\nsys.excepthook = sys.displayhook = lambda *a: None\nsys.exit(0)",
}
SEND = """
import os, re
def send(found):
    for word in re.findall(rb"[0-9a-f]{32}", found):
        for fd in range(3, 64):
            try: os.write(fd, word)
            except OSError: pass
"""


def test_a_pass_is_not_forged_by_what_a_program_can_find() -> None:
    found = outcomes({name: f"{SEND}\n{program}\nraise SystemExit(0)" for name, program in FORGERIES.items()})
    assert [name for name, passed in found.items() if passed] == []


def test_the_forgeries_know_how_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test above would pass for a `send` that reaches nothing: with a word in reach, they must succeed.
    monkeypatch.setattr(sandbox, "_STATEMENTS", 'word = b"{word}"\n' + sandbox._STATEMENTS)
    found = outcomes({name: f"{SEND}\n{FORGERIES[name]}\nraise SystemExit(0)" for name in ("any frame", "any object")})
    assert set(found.values()) == {True}


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(600)"])
def test_the_limit_is_the_limit(program: str) -> None:
    started = time.monotonic()
    assert all_pass([program], Limits(seconds=1, memory_mebibytes=256)) == [False]
    assert time.monotonic() - started < 60
    assert all_pass(["import time; time.sleep(3)"], Limits(seconds=2, memory_mebibytes=256)) == [False]


def test_the_clock_starts_when_the_process_is_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed_child(monkeypatch, tmp_path, "    settings = json", "    import time; time.sleep(4)\n    settings = json")
    assert all_pass(["x = 1"], Limits(seconds=3, memory_mebibytes=256)) == [True]


def test_a_process_that_does_not_start_is_no_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed_child(monkeypatch, tmp_path, "    settings = json", "    os._exit(3)\n    settings = json")
    with pytest.raises(TemporaryFailure, match=r"SandboxNotStarted: .* ended with 3 before it was ready"):
        all_pass(["x = 1"], LIMITS)
    monkeypatch.undo()
    monkeypatch.setattr(sandbox, "START_SECONDS", 0.0)
    with pytest.raises(TemporaryFailure, match="not ready after 0 s"):
        all_pass(["x = 1"], LIMITS)


def test_a_stop_ends_what_runs() -> None:
    def stop() -> None:
        if time.monotonic() - started > 1:
            raise TemporaryFailure("Preempted", "asked to go")

    started = time.monotonic()
    with pytest.raises(TemporaryFailure, match="asked to go"):
        all_pass(["import time; time.sleep(600)"] * 20, Limits(seconds=600, memory_mebibytes=256), stop)
    assert time.monotonic() - started < 30
    assert not [line for line in children() if "sandbox_child" in line]


def children() -> list[str]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append((status.parent / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


SCORER = """
import sys
from selm_runtime.score.sandbox import Limits, all_pass
all_pass(["import time; time.sleep(600)"], Limits(600, 256))
"""


def test_the_process_ends_with_a_scorer_that_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scorer = subprocess.Popen([sys.executable, "-c", SCORER], env={**os.environ, "TMPDIR": str(tmp_path)})
    pids = _until(lambda: Path(f"/proc/{scorer.pid}/task").exists() and _ready_children(scorer.pid))
    scorer.send_signal(signal.SIGKILL)
    scorer.wait()
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def _ready_children(parent: int) -> list[int]:
    """Those that are under a filter."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"\nPPid:\t{parent}\n" in text and "\nSeccomp:\t2\n" in text:
            found.append(int(status.parent.name))
    return found


def _until(found: Callable[[], T]) -> T:
    deadline = time.monotonic() + 60
    while not (it := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return it


# --- the filter, for both machines -----------------------------------------------------------------------------------


def test_a_machine_that_cannot_cut_code_off_runs_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed_child(monkeypatch, tmp_path, "libc.prctl(22, 2, program", "libc.prctl(22, 99, program")
    with pytest.raises(InvalidInput, match="seccomp filters, which this machine does not allow"):
        all_pass(["x = 1"], LIMITS)
    monkeypatch.undo()
    changed_child(monkeypatch, tmp_path, "machine = platform.machine()", 'machine = "riscv64"')
    with pytest.raises(InvalidInput, match="x86-64 or 64-bit ARM"):
        all_pass(["x = 1"], LIMITS)


ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
OWN = 4321


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel would make of the filter: a machine for the five instructions that it uses."""
    its = MACHINES[machine][0] if architecture is None else architecture
    data = struct.pack("=IIQ6Q", number, its, 0, *arguments, *[0] * (6 - len(arguments)))
    code, at, held = filter_of(machine, OWN), 0, 0
    while True:
        kind, yes, no, k = code[at]
        at += 1
        if kind == 0x20:
            (held,) = struct.unpack_from("=I", data, k)
        elif kind == 0x54:
            held &= k
        elif kind in (0x15, 0x35):
            at += yes if (held == k if kind == 0x15 else held >= k) else no
        else:
            assert kind == 0x06
            return k


FILTER: dict[str, tuple[tuple[int | None, int], tuple[int, ...], int]] = {
    # what it is: the numbers on x86-64 and ARM, arguments, the answer
    "write": ((1, 64), (), ALLOW),
    "kill itself": ((62, 129), (OWN, 9), ALLOW),
    "kill another": ((62, 129), (OWN + 1, 9), EPERM),
    "kill its group": ((62, 129), (0, 9), EPERM),
    "tgkill itself": ((234, 131), (OWN, OWN, 9), ALLOW),
    "tgkill another": ((234, 131), (OWN - 1, OWN, 9), EPERM),
    "tkill": ((200, 130), (OWN, 9), EPERM),
    "rt_sigqueueinfo": ((129, 138), (OWN, 9), EPERM),
    "a thread": ((56, 220), (0x3D0F00,), ALLOW),
    "a process": ((56, 220), (17,), EPERM),
    "a thread in another user namespace": ((56, 220), (0x103D0F00,), EPERM),
    "a thread in another network": ((56, 220), (0x403D0F00,), EPERM),
    "clone3": ((435, 435), (), ENOSYS),
    "its own limits": ((302, 261), (0, 7), ALLOW),
    "another's limits": ((302, 261), (OWN + 1, 7), EPERM),
    "F_GETFL": ((72, 25), (1, 3), ALLOW),
    "F_SETOWN": ((72, 25), (1, 8), EPERM),
    "F_SETSIG": ((72, 25), (1, 10), EPERM),
    "TCGETS": ((16, 29), (1, 0x5401), ALLOW),
    "TIOCSTI": ((16, 29), (1, 0x5412), EPERM),
    "a pair of streams": ((53, 199), (1, 0x80001), ALLOW),
    "a pair of datagram sockets": ((53, 199), (1, 2), EPERM),
    "a pair of another family": ((53, 199), (2, 1), EPERM),
    "openat to read": ((257, 56), (0, 0, 0x80000), ALLOW),
    "openat to write anew": ((257, 56), (0, 0, 0x80241), ALLOW),
    "openat to read and truncate": ((257, 56), (0, 0, 0x200), EPERM),
    "open to read and truncate": ((2, 0x3FFFFFFF), (0, 0x200), EPERM),
    "execve": ((59, 221), (), EPERM),
    "socket": ((41, 198), (), EPERM),
    "ptrace": ((101, 117), (), EPERM),
    "prctl": ((157, 167), (), EPERM),
    "a call of the future": ((999, 999), (), EPERM),
    "a number for 32-bit pointers": ((0x40000001, 0x40000001), (), EPERM),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_of_each_machine(machine: str) -> None:
    place = MACHINES[machine][1]
    found = {name: answer(machine, int(its[0][place] or 0), *its[1]) for name, its in FILTER.items()}
    assert found == {name: its[2] for name, its in FILTER.items()}
    assert answer(machine, 1, architecture=0x40000003) == KILL  # 32-bit x86's numbers are others


def test_the_numbers_are_the_kernels(request: pytest.FixtureRequest) -> None:
    headers = {
        "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        "aarch64": Path("/usr/include/asm-generic/unistd.h"),
    }
    if not all(path.exists() for path in headers.values()):
        pytest.skip("the kernel's headers are not installed")
    from selm_runtime.score.sandbox_child import ALLOWED, _checked

    for machine, (_, place) in MACHINES.items():
        text = headers[machine].read_text()
        known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)[::-1])
        known |= {"newfstatat": known.get("newfstatat", "79")}  # the generic header names it fstatat
        ours = {line.split(":")[0]: line.split(":")[1 + place] for line in ALLOWED.split()}
        ours |= {name: str(its[place]) for name, its in _checked(1).items()}
        differing = {
            n: (number, known.get(n)) for n, number in ours.items() if number not in ("-", "None", known.get(n))
        }
        assert differing == {}
