"""A store in memory whose every operation is a step that a test schedules, kills at, or counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from selm_runtime.artifacts.store import NotFound, ObjectInfo, verify


class Killed(BaseException):
    """What SIGKILL is to a process: nothing handles it."""


class MemoryStore:
    """Implements `Store`. `step(name)` is called before and after each operation's effect, and may raise Killed.

    Several views of one memory (`view`) stand for several pods.
    """

    def __init__(self, *, ignore_conditions: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.overwritten: list[str] = []
        """Keys whose content was replaced by another one."""
        self._ignore_conditions = ignore_conditions
        self._step: Callable[[str], None] = lambda _: None

    def view(self, step: Callable[[str], None]) -> MemoryStore:
        """The same memory as another pod sees it."""
        other = MemoryStore(ignore_conditions=self._ignore_conditions)
        other.objects, other.overwritten, other._step = self.objects, self.overwritten, step
        return other

    @property
    def uri(self) -> str:
        return "memory://store"

    def uri_of(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def get(self, key: str) -> bytes:
        self._step(f"get {key}")
        return self._read(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self._step(f"before put {key}")
        if if_absent and not self._ignore_conditions and key in self.objects:
            return False
        self._write(key, data)
        self._step(f"after put {key}")
        return True

    def stat(self, key: str) -> ObjectInfo | None:
        self._step(f"stat {key}")
        return ObjectInfo(key, len(self.objects[key])) if key in self.objects else None

    def upload(self, path: Path, key: str) -> None:
        self._step(f"before upload {key}")
        self._write(key, path.read_bytes())
        self._step(f"after upload {key}")

    def download(self, key: str, path: Path, *, size: int | None = None, sha256: str | None = None) -> None:
        self._step(f"download {key}")
        data = self._read(key)
        verify(self.uri_of(key), len(data), hashlib.sha256(data).hexdigest(), size=size, sha256=sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def read(self, key: str, start: int, size: int) -> bytearray:
        self._step(f"read {key}")
        return bytearray(self._read(key)[start : start + size])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._step(f"list {prefix}")
        yield from [ObjectInfo(key, len(self.objects[key])) for key in sorted(self.objects) if key.startswith(prefix)]

    def copy(self, source: str, target: str) -> None:
        self._step(f"before copy {target}")
        self._write(target, self._read(source))
        self._step(f"after copy {target}")

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._step(f"before delete {key}")
            self.objects.pop(key, None)

    def abort_unfinished(self, prefix: str, *, older_than_seconds: float = 0.0) -> None:
        self._step(f"abort {prefix}")

    def _read(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key]

    def _write(self, key: str, data: bytes) -> None:
        if self.objects.get(key, data) != data:
            self.overwritten.append(key)
        self.objects[key] = data
