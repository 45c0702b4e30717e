"""Checkpoints of Training: committed like a phase, one folder a step, found by the input they were made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from selm_runtime.artifacts.layout import POINTER, checkpoint_place, checkpoints_place, pointer_key, writer_path
from selm_runtime.artifacts.manifest import FileEntry, Manifest, content_digest
from selm_runtime.artifacts.pointer import commit_manifest, read_committed, read_pointer
from selm_runtime.artifacts.reader import RunReader
from selm_runtime.artifacts.store import Store
from selm_runtime.artifacts.upload import upload_files
from selm_runtime.contract import PhaseConfig


class Checkpoint(Manifest):
    """A committed checkpoint; logical names are the trainer's own."""

    step: int = Field(ge=0)


class Checkpoints:
    """The checkpoints of one training phase, as one pod sees and writes them."""

    def __init__(self, store: Store, config: PhaseConfig, folder: str, writer: str, input_digest: str) -> None:
        self._store = store
        self._config = config
        self._folder = folder
        self._writer = writer
        self._input_digest = input_digest

    def upload(self, step: int, files: Mapping[str, Path]) -> tuple[FileEntry, ...]:
        """A rank's own part of a checkpoint, before the barrier; rank 0 commits the entries of all."""
        place = checkpoint_place(self._folder, step).removeprefix(f"{self._folder}/")
        return upload_files(self._store, self._folder, f"{place}/{writer_path(self._writer)}", files)

    def commit(self, step: int, entries: Iterable[FileEntry], facts: Mapping[str, Any]) -> Checkpoint:
        """By rank 0, after all ranks have uploaded. Returns the one that is committed."""
        files = tuple(sorted(entries, key=lambda entry: entry.name))
        checkpoint = Checkpoint(
            phase=self._config.phase,
            iteration=self._config.iteration,
            input_digest=self._input_digest,
            content_digest=content_digest(files),
            rows=0,
            files=files,
            facts=dict(facts),
            step=step,
        )
        return commit_manifest(self._store, checkpoint_place(self._folder, step), checkpoint, self._config.attempt)

    def latest(self, *, below: int | None = None) -> Checkpoint | None:
        """The highest step made from this input whose files are all there with their sizes.

        `below` leaves out that step and higher ones: where a fetch found one damaged, ask for the next.
        """
        sizes = {info.key: info.size for info in self._store.list(f"{checkpoints_place(self._folder)}/")}
        for step in sorted(self._steps(sizes), reverse=True):
            if below is not None and step >= below:
                continue
            found = read_committed(self._store, checkpoint_place(self._folder, step), Checkpoint, self._input_digest)
            if found is not None and all(
                sizes.get(f"{self._folder}/{entry.path}") == entry.size for entry in found.files
            ):
                return found
        return None

    def fetch(self, checkpoint: Checkpoint, into: Path, prefix: str = "") -> Path:
        """Download and verify the files under `prefix` into `into`, by logical name."""
        return RunReader(self._store, self._config.run).fetch(checkpoint, prefix, into)

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` steps that are committed of this input, and what was begun before them.

        Another input's may be further on, where a run was repaired: they keep none of this one's out, and go with `drop`.
        """
        keys = [info.key for info in self._store.list(f"{checkpoints_place(self._folder)}/")]
        kept = sorted(filter(self._is_own, self._steps(keys)))[-keep:] if keep > 0 else []
        if kept:
            self._remove([key for key in keys if self._step_of(key) < kept[0]])

    def drop_after(self, step: int) -> None:
        """Remove those of later steps than the one that is gone on from; all with -1.

        They are damaged, lost, of another world shape or made from another input: left there, they would keep the place of
        new ones. What a later attempt committed stays, and so do uploads without a commit: they may be another pod's.
        """
        keys = [info.key for info in self._store.list(f"{checkpoints_place(self._folder)}/")]
        gone = {found for found in self._steps(keys) if found > step and not self._is_of_later_attempt(found)}
        self._remove([key for key in keys if self._step_of(key) in gone])

    def drop(self) -> None:
        """Remove all of them: the phase is committed."""
        self._remove([info.key for info in self._store.list(f"{checkpoints_place(self._folder)}/")])

    def _is_own(self, step: int) -> bool:
        place = checkpoint_place(self._folder, step)
        return read_committed(self._store, place, Checkpoint, self._input_digest) is not None

    def _is_of_later_attempt(self, step: int) -> bool:
        pointer = read_pointer(self._store, checkpoint_place(self._folder, step))
        return pointer is not None and pointer.attempt > self._config.attempt

    def _remove(self, keys: list[str]) -> None:
        # Pointers first: a checkpoint that is half removed is one that nobody takes.
        self._store.delete(key for key in keys if key.endswith(f"/{POINTER}"))
        self._store.delete(keys)

    def _steps(self, keys: Iterable[str]) -> Iterator[int]:
        return (
            self._step_of(key) for key in keys if key == pointer_key(checkpoint_place(self._folder, self._step_of(key)))
        )

    def _step_of(self, key: str) -> int:
        step = key.removeprefix(f"{checkpoints_place(self._folder)}/").partition("/")[0]
        return int(step) if step.isdigit() else -1
