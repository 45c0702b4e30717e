"""Objects' bodies as files: written once, never changed, read through memory maps.

A body lies at `bodies/<2 hex>/<id>`. It counts only once a record names it (see `records`); what no record names is
removed at the next start.
"""

from __future__ import annotations

import mmap
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
LARGE = 4 << 20
"""Bytes. A slice above this is read while it is sent instead of being copied into memory."""


class BodyView(mmap.mmap):
    """A body as a memory map: it answers to `len`, to slices and to the buffer protocol without being read.

    Iterating gives chunks (a plain memory map gives single bytes): WSGI servers send it that way. `body` is the id of
    what it shows, so that a copy of an object needs no copy of its bytes.
    """

    body: str

    def __iter__(self) -> Iterator[Any]:
        return iter(BodyRange(self, 0, len(self)))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1 and stop - start > LARGE:
                return BodyRange(self, start, stop)
        return super().__getitem__(key)

    def part(self, start: int, stop: int) -> bytes:
        return bytes(super().__getitem__(slice(start, stop)))


class BodyRange:
    """A part of a body, read in chunks when iterated."""

    def __init__(self, view: BodyView, start: int, stop: int) -> None:
        self._view, self._start, self._stop = view, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[bytes]:
        for offset in range(self._start, self._stop, CHUNK):
            yield self._view.part(offset, min(offset + CHUNK, self._stop))

    def __bytes__(self) -> bytes:
        return self._view.part(self._start, self._stop)


class Bodies:
    """The folder of bodies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def write(self, chunks: Iterable[bytes | memoryview]) -> str:
        """Store a body and return its id. Raises OSError, and leaves nothing behind, when the disk is full."""
        body = self._new()
        path = self.path(body)
        try:
            with path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return body

    def link(self, body: str) -> str:
        """A second id for the same bytes, without copying them where the file system can."""
        new = self._new()
        try:
            os.link(self.path(body), self.path(new))
        except OSError:
            shutil.copyfile(self.path(body), self.path(new))
        return new

    def concatenate(self, bodies: list[str]) -> str:
        """A body made of others in order; the bytes do not pass through this process where the kernel can help."""
        new = self._new()
        path = self.path(new)
        try:
            with path.open("wb") as target:
                for body in bodies:
                    with self.path(body).open("rb") as source:
                        _copy(source.fileno(), target.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return new

    def view(self, body: str) -> BodyView | bytes:
        """The body's bytes as a memory map; an empty body cannot be mapped and is `b""`."""
        with self.path(body).open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return b""
            view = BodyView(file.fileno(), 0, access=mmap.ACCESS_READ)
        view.body = body
        return view

    def size(self, body: str) -> int | None:
        """Bytes; None where the body is gone."""
        try:
            return self.path(body).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, body: str) -> None:
        """Remove a body. Readers that have it open go on reading it."""
        self.path(body).unlink(missing_ok=True)

    def sweep(self, named: set[str]) -> int:
        """Remove every body that no record names. Returns how many there were."""
        removed = 0
        for path in self._root.glob("*/*"):
            if path.name not in named:
                path.unlink()
                removed += 1
        return removed

    def path(self, body: str) -> Path:
        return self._root / body[:2] / body

    def _new(self) -> str:
        body = uuid.uuid4().hex
        self.path(body).parent.mkdir(exist_ok=True)
        return body


def _copy(source: int, target: int) -> None:
    left = os.fstat(source).st_size
    while left > 0:
        try:
            copied = os.copy_file_range(source, target, left)
        except OSError:
            copied = os.write(target, os.read(source, CHUNK))
        if copied == 0:
            raise OSError("a body became shorter while it was copied")
        left -= copied
