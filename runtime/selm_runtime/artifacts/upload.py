"""Bringing a phase's files into the pod's own folder of the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from selm_runtime.artifacts.manifest import FileEntry, sha256_of_file
from selm_runtime.artifacts.store import Store
from selm_runtime.contract import ENV_TIME_SCALE
from selm_runtime.errors import STORE_UNAVAILABLE, TemporaryFailure

FINAL_UPLOAD_SECONDS = 600.0

T = TypeVar("T")


def time_scale() -> float:
    """Factor of the runtime's own waits."""
    return float(os.environ.get(ENV_TIME_SCALE) or 1.0)


def persistently(work: Callable[[], T]) -> T:
    """Run `work`, again for 10 minutes while the store is away; then the last TemporaryFailure is raised.

    For commits: the pod holds work that is paid for, and the store may be back in a moment.
    """
    scale = time_scale()
    for attempt in Retrying(
        retry=retry_if_exception(_store_is_away),
        wait=wait_random_exponential(multiplier=scale, min=scale, max=30 * scale),
        stop=stop_after_delay(FINAL_UPLOAD_SECONDS * scale),
        reraise=True,
    ):
        with attempt:
            result = work()
    return result


def _store_is_away(error: BaseException) -> bool:
    return isinstance(error, TemporaryFailure) and error.reason == STORE_UNAVAILABLE


def upload_files(store: Store, folder: str, within: str, files: Mapping[str, Path]) -> tuple[FileEntry, ...]:
    """Upload files by logical name to `<folder>/<within>/<name>`; their entries, in name order.

    `folder` is the phase's, `within` the pod's folder below it. Parquet files carry their row count.
    """
    entries = []
    for name, path in sorted(files.items()):
        entry = FileEntry(
            name=name,
            path=f"{within}/{name}",
            size=path.stat().st_size,
            sha256=sha256_of_file(path),
            rows=pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None,
        )
        store.upload(path, f"{folder}/{entry.path}")
        entries.append(entry)
    return tuple(entries)


def files_below(folder: Path, prefix: str = "") -> dict[str, Path]:
    """Every file below a local folder by logical name, e.g. for `commit(files_below(model, "model/"), ...)`."""
    return {
        f"{prefix}{path.relative_to(folder).as_posix()}": path for path in sorted(folder.rglob("*")) if path.is_file()
    }
