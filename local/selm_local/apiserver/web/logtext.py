"""Parts of a log: the last lines, what came since a time, lines with their times. Files only, no HTTP."""

from __future__ import annotations

import bisect
import datetime as dt
from pathlib import Path

_CHUNK = 64 * 1024


def tail_offset(path: Path, lines: int) -> int:
    """Where the last `lines` lines begin, in bytes."""
    size = path.stat().st_size
    if lines <= 0:
        return size
    position, left = size, lines
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        if file.read(1) == b"\n":
            position -= 1  # the newline that ends the last line begins no other
        while position > 0:
            start = max(position - _CHUNK, 0)
            file.seek(start)
            block = file.read(position - start)
            at = len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                left -= 1
                if left == 0:
                    return start + at + 1
            position = start
    return 0


class LogTimes:
    """When which part of a log was written: lines `<offset> <RFC 3339 time>`, read on as they are appended."""

    def __init__(self, path: Path):
        self._path = path
        self._read = 0
        self._offsets: list[int] = []
        self._times: list[dt.datetime] = []

    def refresh(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._read += end
        for line in data[:end].decode().splitlines():
            offset, _, time = line.partition(" ")
            self._offsets.append(int(offset))
            self._times.append(dt.datetime.fromisoformat(time))

    def since(self, when: dt.datetime) -> int | None:
        """The offset of the first part that was written at or after `when`; None: nothing was."""
        at = bisect.bisect_left(self._times, when)
        return self._offsets[at] if at < len(self._offsets) else None

    def time_at(self, offset: int) -> dt.datetime | None:
        """When the byte at `offset` was written."""
        at = bisect.bisect_right(self._offsets, offset) - 1
        return self._times[at] if at >= 0 else None


class Stamper:
    """Puts the time before each line. Feed it the log's bytes in order, from `offset` (a line's beginning) on."""

    def __init__(self, times: LogTimes, offset: int):
        self._times = times
        self._offset = offset
        self._line_begins = True

    def feed(self, block: bytes) -> bytes:
        self._times.refresh()
        out: list[bytes] = []
        for piece in block.splitlines(keepends=True):
            if self._line_begins:
                time = self._times.time_at(self._offset)
                out.append((time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if time else "").encode() + b" ")
            out.append(piece)
            self._offset += len(piece)
            self._line_begins = piece.endswith(b"\n")
        return b"".join(out)
