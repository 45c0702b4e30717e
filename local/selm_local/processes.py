"""Processes by pid *and* start time, so that a recycled pid is never taken for the process that was meant."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessId:
    """A process: its pid and its start time in clock ticks since boot (field 22 of /proc/<pid>/stat).

    The boot id tells ticks of this boot from those of an earlier one, for ids that are read from a file.
    """

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The id of a running process; None where there is none, or only its zombie."""
        stat = _stat(pid)
        return None if stat is None or stat[0] == "Z" else cls(pid, int(stat[19]), boot_id())

    @classmethod
    def from_json(cls, value: Any) -> ProcessId | None:
        """The id that `to_json` wrote; None for anything else."""
        try:
            return cls(int(value["pid"]), int(value["start"]), str(value["boot"]))
        except (TypeError, KeyError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "start": self.start, "boot": self.boot}

    @property
    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False where the process is gone. A pidfd closes the gap between check and signal."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def descendants(root: int) -> list[int]:
    """The pids of all processes below `root`, children before grandchildren; the root itself is not among them."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        stat = _stat(pid)
        if stat is not None:
            children.setdefault(int(stat[1]), []).append(pid)
    found: list[int] = []
    level = children.get(root, [])
    while level:
        found += level
        level = [child for pid in level for child in children.get(pid, [])]
    return found


def with_environment(name: str, value: str) -> list[int]:
    """The pids of this user's processes whose initial environment has `name=value`."""
    wanted = f"{name}={value}".encode()
    found = []
    for pid in all_pids():
        try:
            entries = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # another user's, or gone
        if wanted in entries:
            found.append(pid)
    return found


def anonymous_memory(pids: list[int]) -> int:
    """Bytes of anonymous memory that the processes hold (RssAnon): what cannot be dropped without swapping."""
    total = 0
    for pid in pids:
        try:
            status = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def all_pids() -> Iterator[int]:
    for entry in os.listdir(PROC):
        if entry.isdigit():
            yield int(entry)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the command's name: state, ppid, …"""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may itself hold blanks and parentheses.
    return text.rpartition(")")[2].split()
