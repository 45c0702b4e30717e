"""Model weights on the node: fetched once, verified, shared by pods and processes, evicted by size.

    <root>/<hex>/            a complete model, named by its content digest, with `.complete.json` beside its files
    <root>/<hex>.lock        held shared by every process that uses or fetches the model, exclusively while it is evicted
    <root>/<hex>.fetching    held exclusively while the model is fetched
    <root>/<hex>.incoming/   a model on its way; a rename makes it complete
    <root>/kept-<name>/      what programs keep between pods (compiled kernels); locked and evicted like a model

A process may be killed at any line: locks end with it, what is incoming is removed by the next who holds the lock.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ValidationError

from selm_runtime.artifacts.manifest import FileEntry, Manifest, sha256_of_file
from selm_runtime.errors import TemporaryFailure

ENV_CACHE_LIMIT = "SELM_CACHE_LIMIT_BYTES"
"""Most bytes that the cache keeps beside the model being fetched; unset: what the disk has."""
FREE_SHARE = 0.05
"""Of the disk: stays free whatever the limit is."""

_COMPLETE = ".complete.json"
_log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """Downloads and verifies a manifest's files under a prefix into a folder (see `PhaseFolder.fetch`)."""

    def __call__(self, manifest: Manifest, prefix: str, into: Path) -> Path: ...


class _Complete(BaseModel):
    """What was true of each file when its SHA-256 was last checked: (size, mtime in ns, hex SHA-256)."""

    files: dict[str, tuple[int, int, str]]


class ModelCache:
    """Models below `root`. A model that `model` returned is not evicted before the process ends or `close`."""

    def __init__(self, root: Path, fetch: Fetcher, *, limit_bytes: int | None = None) -> None:
        self._root = root
        self._fetch = fetch
        limit = os.environ.get(ENV_CACHE_LIMIT)
        self._limit_bytes = limit_bytes if limit_bytes is not None else int(limit) if limit else None
        self._in_use: dict[str, int] = {}

    def model(self, manifest: Manifest, prefix: str = "model/") -> Path:
        """A local folder with the manifest's files under `prefix`, in Hugging Face layout; not to be written to.

        Raises InvalidInput where the files are gone or damaged in the store, TemporaryFailure where the store is
        away or the disk is full.
        """
        key, expected = _key(manifest, prefix), _expected(manifest, prefix)
        target = self._root / key
        self._root.mkdir(parents=True, exist_ok=True)
        self._hold(key)
        if not _is_complete(target, expected):
            with _locked(self._root / f"{key}.fetching"):
                if not _is_complete(target, expected):  # another process may have fetched it meanwhile
                    self._make_room(sum(entry.size for entry in expected.values()), keep=key)
                    self._bring(manifest, prefix, target, expected)
        os.utime(target)
        return target

    def held(self, manifest: Manifest, prefix: str = "model/") -> Path | None:
        """The folder that `model` would return where it is whole already; else None, and nothing is fetched."""
        key = _key(manifest, prefix)
        target = self._root / key
        if not target.is_dir():
            return None
        known = key in self._in_use
        self._hold(key)  # before it is looked at: nobody evicts it in between
        if _is_complete(target, _expected(manifest, prefix)):
            os.utime(target)
            return target
        if not known:
            os.close(self._in_use.pop(key))
        return None

    def kept(self, name: str) -> Path:
        """A folder that processes of all pods of the node share and that outlives them, until its room is needed.

        What lies there may be gone with the next pod, and must be of use to whoever asks for the same name. Raises
        ValueError for a name with a dot, which ends the part of a name that locks go by.
        """
        if "." in name:
            raise ValueError(f"found {name!r}, allowed is a name without a dot")
        key = f"kept-{name}"
        self._root.mkdir(parents=True, exist_ok=True)
        self._hold(key)
        folder = self._root / key
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        return folder

    def _hold(self, key: str) -> None:
        """From here on, to the end, nobody evicts what is there or what is being fetched."""
        if key not in self._in_use:
            self._in_use[key] = _open_lock(self._root / f"{key}.lock")
            fcntl.flock(self._in_use[key], fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go of what is in use."""
        for lock in self._in_use.values():
            os.close(lock)
        self._in_use.clear()

    def _bring(self, manifest: Manifest, prefix: str, target: Path, expected: dict[str, FileEntry]) -> None:
        incoming = target.with_name(f"{target.name}.incoming")
        try:
            for leftover in (incoming, target):  # of a killed fetch; damaged (who has its files open keeps them)
                if leftover.exists():
                    shutil.rmtree(leftover)
            self._fetch(manifest, prefix, incoming)
            _write_complete(incoming, expected)
            incoming.rename(target)
        except OSError as error:
            raise TemporaryFailure(
                "CacheUnavailable", f"the model cache at {self._root} cannot be written: {error.strerror or error}"
            ) from error

    def _make_room(self, size: int, *, keep: str) -> None:
        """Evict models that nobody uses, the longest unused first, until `size` bytes fit."""
        models = sorted(
            (folder for folder in self._root.iterdir() if folder.is_dir() and folder.name.partition(".")[0] != keep),
            key=lambda folder: folder.stat().st_mtime,
        )
        sizes = {folder: _size_of(folder) for folder in models}
        for folder in models:
            disk = shutil.disk_usage(self._root)
            fits_disk = disk.free - size >= disk.total * FREE_SHARE
            fits_limit = self._limit_bytes is None or sum(sizes.values()) + size <= self._limit_bytes
            if fits_disk and fits_limit:
                return
            if self._evict(folder):
                del sizes[folder]

    def _evict(self, folder: Path) -> bool:
        with _locked_if_free(self._root / f"{folder.name.partition('.')[0]}.lock") as held:
            if not held:
                return False
            _log.info("evicting %s from the model cache", folder.name)
            # Incomplete first, so that a kill in between leaves nothing that looks whole.
            (folder / _COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            return True


def _key(manifest: Manifest, prefix: str) -> str:
    return manifest.content_under(prefix).removeprefix("sha256:")


def _expected(manifest: Manifest, prefix: str) -> dict[str, FileEntry]:
    """The files under the prefix by their names in the model's folder."""
    entries = [entry.model_copy(update={"name": entry.name.removeprefix(prefix)}) for entry in manifest.under(prefix)]
    return {entry.name: entry for entry in entries}


def _open_lock(path: Path) -> int:
    # Lock files stay: removing one would let two processes hold locks of different files by one name.
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclusively, waiting for whoever holds it."""
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _locked_if_free(path: Path) -> Iterator[bool]:
    """Whether the lock was free; held exclusively within the block if so."""
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _is_complete(target: Path, expected: dict[str, FileEntry]) -> bool:
    """Whether every file is what the manifest says; one that was touched since it was checked is read again."""
    try:
        complete = _Complete.model_validate_json((target / _COMPLETE).read_bytes())
        for name, entry in expected.items():
            now = (target / name).stat()
            size, mtime, sha256 = complete.files[name]
            if (now.st_size, sha256) != (entry.size, entry.sha256):
                return False
            if (now.st_size, now.st_mtime_ns) != (size, mtime) and sha256_of_file(target / name) != entry.sha256:
                return False
    except (FileNotFoundError, NotADirectoryError, KeyError, ValidationError):
        return False
    return True


def _write_complete(folder: Path, expected: dict[str, FileEntry]) -> None:
    stats = {name: (folder / name).stat() for name in expected}
    files = {name: (stats[name].st_size, stats[name].st_mtime_ns, expected[name].sha256) for name in expected}
    (folder / _COMPLETE).write_text(json.dumps({"files": files}))
    os.utime(folder, (time.time(), time.time()))


def _size_of(folder: Path) -> int:
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(directory, name).stat().st_size
            except FileNotFoundError:
                continue  # evicted or completed by another process meanwhile
    return total
