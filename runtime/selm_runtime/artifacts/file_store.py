"""The store on a shared file system or a workstation's disk: atomic rename, exclusive create, hard links."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selm_runtime.artifacts.store import NotFound, ObjectInfo, verify
from selm_runtime.errors import STORE_UNAVAILABLE, InvalidInput, TemporaryFailure

_log = logging.getLogger(__name__)

_UNFINISHED = ".unfinished-"
_READ_BYTES = 4 << 20
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS}
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST}


class FileStore:
    """Implements `Store` below the directory `root`, which the first write creates."""

    def __init__(self, root: Path, *, field: str = "spec.artifacts.uri") -> None:
        self._root = Path(os.path.abspath(root))
        self._field = field

    @property
    def uri(self) -> str:
        return self._root.as_uri()

    def uri_of(self, key: str) -> str:
        return self._path(key).as_uri()

    def local_path(self, key: str) -> Path:
        """Where the object is on this machine."""
        return self._path(key)

    def get(self, key: str) -> bytes:
        with self._errors(key):
            return self._path(key).read_bytes()

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        def write(unfinished: Path) -> None:
            with unfinished.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())

        with self._errors(key):
            return self._place(key, write, if_absent=if_absent)

    def stat(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        try:
            with self._errors(key):
                return ObjectInfo(key, path.stat().st_size) if path.is_file() else None
        except NotFound:
            return None

    def upload(self, path: Path, key: str) -> None:
        def write(unfinished: Path) -> None:
            shutil.copyfile(path, unfinished)
            _sync(unfinished)

        with self._errors(key):
            self._place(key, write)

    def download(self, key: str, path: Path, *, size: int | None = None, sha256: str | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
        digest, count = hashlib.sha256(), 0
        try:
            with self._errors(key), self._path(key).open("rb") as source, unfinished.open("wb") as target:
                while block := source.read(_READ_BYTES):
                    digest.update(block)
                    count += len(block)
                    target.write(block)
            verify(self.uri_of(key), count, digest.hexdigest(), size=size, sha256=sha256)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def read(self, key: str, start: int, size: int) -> bytearray:
        with self._errors(key), self._path(key).open("rb") as source:
            source.seek(start)
            return bytearray(source.read(size))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self._root
        found: list[ObjectInfo] = []
        with self._errors(prefix):
            for directory, _, names in os.walk(folder):
                for name in names:
                    path = Path(directory, name)
                    key = path.relative_to(self._root).as_posix()
                    if key.startswith(prefix) and not name.startswith(_UNFINISHED):
                        try:
                            found.append(ObjectInfo(key, path.stat().st_size))
                        except FileNotFoundError:
                            continue  # deleted since the directory was read
        yield from sorted(found, key=lambda info: info.key)

    def copy(self, source: str, target: str) -> None:
        def write(unfinished: Path) -> None:
            try:
                os.link(self._path(source), unfinished)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copyfile(self._path(source), unfinished)
                _sync(unfinished)

        with self._errors(source):
            if not self._path(source).is_file():
                raise NotFound(source)
            self._place(target, write)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._path(key)
            with self._errors(key):
                path.unlink(missing_ok=True)
                self._remove_empty(path.parent)

    def abort_unfinished(self, prefix: str, *, older_than_seconds: float = 0.0) -> None:
        before = time.time() - older_than_seconds
        for directory, _, names in os.walk(self._path(prefix)):
            for name in names:
                path = Path(directory, name)
                if not name.startswith(_UNFINISHED):
                    continue
                try:
                    if path.stat().st_mtime <= before:
                        path.unlink()
                except OSError as error:
                    _log.info("cannot remove %s: %s", path, error)

    def _path(self, key: str) -> Path:
        if key.startswith("/") or ".." in key.split("/"):
            raise ValueError(f"a key is relative and stays below its store, found {key!r}")
        return self._root / key

    def _place(self, key: str, write: Callable[[Path], None], *, if_absent: bool = False) -> bool:
        """Write beside the target, then make it appear whole; False: with `if_absent`, it was there."""
        path = self._path(key)
        if if_absent and path.exists():
            return False
        unfinished = path.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
        try:
            for attempt in range(10):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write(unfinished)
                    break
                except FileNotFoundError:
                    # Another process removed the directory because it was empty.
                    if attempt == 9 or path.parent.exists():
                        raise
            if if_absent:
                return _link_exclusively(unfinished, path)
            unfinished.replace(path)
            _sync(path.parent)
            return True
        finally:
            # Also after the rename: renaming over another link of the same file leaves both names.
            unfinished.unlink(missing_ok=True)

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._root and self._root in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _ABSENT:
                raise NotFound(key) from error
            if error.errno in _REFUSED:
                raise InvalidInput(
                    "StoreAccessDenied",
                    f"{self._field}: {self._root} refuses access ({error.strerror} at {key!r}); "
                    "it must be readable and writable for the pod's user",
                ) from error
            raise TemporaryFailure(
                STORE_UNAVAILABLE, f"{self._field}: {self._root} does not work: {error.strerror or error}"
            ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_exclusively(unfinished: Path, path: Path) -> bool:
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here: the name is taken first and filled second. A kill in between leaves an empty
        # pointer, which readers take for none.
        try:
            with path.open("xb") as stream:
                stream.write(unfinished.read_bytes())
                stream.flush()
                os.fsync(stream.fileno())
        except FileExistsError:
            return False
    _sync(path.parent)
    return True
