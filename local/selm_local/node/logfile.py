"""Container logs in the CRI format: one line a record, `<time> <stream> <F|P> <text>`.

https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PARTIAL_AT = 16384
"""Bytes. A longer line is written in parts, tagged P but for the last."""


class LogWriter:
    """Appends what a container writes, line by line, each with the time at which it was complete."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._rest: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        stamp = _stamp()
        records: list[bytes] = []
        for line in lines:
            while len(line) > PARTIAL_AT:
                records.append(_record(stamp, stream, b"P", line[:PARTIAL_AT]))
                line = line[PARTIAL_AT:]
            records.append(_record(stamp, stream, b"F", line))
        while len(rest) > PARTIAL_AT:
            records.append(_record(stamp, stream, b"P", rest[:PARTIAL_AT]))
            rest = rest[PARTIAL_AT:]
        self._rest[stream] = rest
        if records:
            os.write(self._file, b"".join(records))

    def close(self) -> None:
        """Write lines that never got their end, without one (tag P), and close the file."""
        for stream, rest in self._rest.items():
            if rest:
                os.write(self._file, _record(_stamp(), stream, b"P", rest))
        os.close(self._file)


@dataclass(frozen=True)
class LogRecord:
    """One record: `text` ends with a newline unless the line goes on in the next record."""

    time: str
    stream: str
    text: bytes


def parse_record(line: bytes) -> LogRecord | None:
    """Read one line of a log file, without its newline; None where it is no record (a torn write)."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[2] not in (b"F", b"P"):
        return None
    ending = b"\n" if parts[2] == b"F" else b""
    return LogRecord(parts[0].decode("ascii", "replace"), parts[1].decode("ascii", "replace"), parts[3] + ending)


def _record(stamp: bytes, stream: str, tag: bytes, text: bytes) -> bytes:
    return b"%s %s %s %s\n" % (stamp, stream.encode(), tag, text)


def _stamp() -> bytes:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()
