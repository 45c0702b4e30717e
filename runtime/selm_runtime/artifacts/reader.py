"""Reading what earlier phases committed: by digest, verified as it streams."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.artifacts.layout import phase_folder
from selm_runtime.artifacts.manifest import FileEntry, Manifest
from selm_runtime.artifacts.pointer import read_manifest
from selm_runtime.artifacts.store import Corrupt, NotFound, Store
from selm_runtime.contract import Phase, RunRef
from selm_runtime.errors import InvalidInput

_PARALLEL_DOWNLOADS = 4
READS_BEFORE_CORRUPT = 3
"""A connection that broke looks the same as damage at rest; the latter stays."""


def gone(name: str, uri: str) -> InvalidInput:
    """A committed file that is not where its manifest says."""
    return InvalidInput("MissingArtifact", f"{name} was committed, but is not at {uri} any more")


def go_on() -> None:
    """Nobody asks this process to go."""


class RunReader:
    """The committed phases of one run. `between` is called before each file that is brought: it raises to stop."""

    def __init__(self, store: Store, run: RunRef, between: Callable[[], None] = go_on) -> None:
        self.store = store
        self.run = run
        self._between = between

    def manifest(self, phase: Phase, iteration: int, digest: str) -> Manifest:
        """The manifest at a digest that the operator handed on; InvalidInput where it is gone or damaged."""
        place = phase_folder(self.run, phase, iteration)
        try:
            return read_manifest(self.store, place, digest, Manifest)
        except NotFound as error:
            raise InvalidInput(
                "MissingArtifact",
                f"the manifest {digest} of {phase} of iteration {iteration} is not at {self.store.uri_of(place)}; "
                "it was committed there before, and the pod must see the same store",
            ) from error
        except Corrupt as error:
            raise InvalidInput("CorruptArtifact", str(error)) from error

    def fetch(self, manifest: Manifest, prefix: str, into: Path) -> Path:
        """Download and verify the files whose logical name starts with `prefix`; returns `into`.

        Files lie in `into` under their names relative to the prefix's folder: `fetch(m, "model/", d)` makes
        `d/config.json`. Raises InvalidInput where there is none, or where one is gone or damaged.
        """
        entries = manifest.under(prefix)
        if not entries:
            raise InvalidInput(
                "MissingArtifact",
                f"{manifest.phase} of iteration {manifest.iteration} has no file under {prefix!r}",
            )
        folder = prefix.rpartition("/")[0]
        into.mkdir(parents=True, exist_ok=True)

        def fetch_one(entry: FileEntry) -> None:
            self.fetch_file(manifest, entry, into / entry.name.removeprefix(f"{folder}/" if folder else ""))

        _for_each(entries, fetch_one)
        return into

    def fetch_file(self, manifest: Manifest, entry: FileEntry, path: Path) -> None:
        """Download and verify one file of a manifest into `path`."""
        self.fetch_entry(phase_folder(self.run, manifest.phase, manifest.iteration), entry, path)

    def fetch_entry(self, place: str, entry: FileEntry, path: Path) -> None:
        """Download and verify one file below the phase's folder `place` into `path`."""
        key = f"{place}/{entry.path}"
        for attempt in range(READS_BEFORE_CORRUPT):
            self._between()
            try:
                self.store.download(key, path, size=entry.size, sha256=entry.sha256)
                return
            except NotFound as error:
                raise gone(entry.name, self.store.uri_of(key)) from error
            except Corrupt as error:
                if attempt == READS_BEFORE_CORRUPT - 1:
                    raise InvalidInput("CorruptArtifact", str(error)) from error

    def read_table(self, manifest: Manifest, name: str) -> pa.Table:
        """A Parquet file of a manifest as a table in memory."""
        try:
            entry = manifest.file(name)
        except KeyError as error:
            raise InvalidInput("MissingArtifact", str(error.args[0])) from error
        with tempfile.TemporaryDirectory(prefix="selm-table-") as folder:
            path = Path(folder, "table.parquet")
            self.fetch_file(manifest, entry, path)
            return pq.read_table(path)


def _for_each(entries: Sequence[FileEntry], work: Callable[[FileEntry], None]) -> None:
    with ThreadPoolExecutor(max_workers=_PARALLEL_DOWNLOADS) as pool:
        futures = [pool.submit(work, entry) for entry in entries]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
