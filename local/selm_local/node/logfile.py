"""Container logs: the plain output in one file, and beside it when which part of it was written.

`log` holds what the container wrote to stdout and stderr, line by line in the order of arrival. `log.times` has a
line `<offset> <time>` for every batch: the bytes of `log` from that offset on were written at that time (RFC 3339).
"""

from __future__ import annotations

import os
from pathlib import Path

from selm_local.state import utc_now

LINE_LIMIT = 16384
"""Bytes. An unfinished line is held back until it ends or is this long, so that the two streams do not mix in it."""


def times_of(log: Path) -> Path:
    return log.with_name(f"{log.name}.times")


class LogWriter:
    """Appends what a container writes."""

    def __init__(self, path: Path) -> None:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._log = os.open(path, flags, 0o600)
        self._times = os.open(times_of(path), flags, 0o600)
        self._offset = os.fstat(self._log).st_size
        self._rest: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        data = self._rest[stream] + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LINE_LIMIT:
            end = len(data)
        self._rest[stream] = data[end:]
        self._append(data[:end])

    def close(self) -> None:
        """Write lines that never got their end, and close the files."""
        for rest in self._rest.values():
            self._append(rest)
        os.close(self._log)
        os.close(self._times)

    def _append(self, data: bytes) -> None:
        if not data:
            return
        # The time first: a part of the log without one would be taken for the batch before.
        os.write(self._times, f"{self._offset} {utc_now()}\n".encode())
        view = memoryview(data)
        while view:
            view = view[os.write(self._log, view) :]
        self._offset += len(data)
