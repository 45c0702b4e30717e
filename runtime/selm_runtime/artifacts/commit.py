"""The phase's folder: what its pods read of earlier phases, and how they commit their own work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from selm_runtime import faults
from selm_runtime.artifacts import reuse
from selm_runtime.artifacts.checkpoints import Checkpoint, Checkpoints
from selm_runtime.artifacts.chunks import chunk_ranges
from selm_runtime.artifacts.compose import Summarise, compose_manifest
from selm_runtime.artifacts.layout import POINTER, chunk_place, phase_folder, writer_path
from selm_runtime.artifacts.manifest import ChunkManifest, FileEntry, Manifest, content_digest
from selm_runtime.artifacts.pointer import commit_manifest, read_committed
from selm_runtime.artifacts.reader import RunReader, go_on
from selm_runtime.artifacts.store import Store
from selm_runtime.artifacts.upload import persistently, upload_files
from selm_runtime.contract import Phase, PhaseConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.reporting import Reporter

NEVER_REUSED = (Phase.PREPARATION, Phase.PUSH)
"""Phases that look at the world outside of the store: each run does its own."""
_ABANDONED_SECONDS = 60.0
"""Uploads that were begun longer ago than this when the phase is committed belong to killed pods."""


class PhaseFolder:
    """One phase of one iteration, as one pod (`writer`) sees and writes it.

    `input_digest` is what the phase is made from: work committed from another input does not count. `between` is called
    before each file of an earlier phase that is brought, and raises where the pod is to go.
    """

    def __init__(
        self,
        store: Store,
        config: PhaseConfig,
        *,
        input_digest: str,
        writer: str,
        reporter: Reporter,
        between: Callable[[], None] = go_on,
    ) -> None:
        self.store = store
        self.config = config
        self.input_digest = input_digest
        self.writer = writer
        self.within = writer_path(writer)
        self.place = phase_folder(config.run, config.phase, config.iteration)
        self.checkpoints = Checkpoints(store, config, self.place, writer, input_digest)
        self._reporter = reporter
        self._reader = RunReader(store, config.run, between)
        self._total_chunks: int | None = None
        self._chunks_by_this_pod = 0
        self._checkpoints_by_this_pod = 0

    # Reading earlier phases

    def manifest(self, phase: Phase, iteration: int) -> Manifest:
        """Of an earlier phase, by the digest that the operator handed on; InvalidInput where it is gone."""
        digest = self.config.manifest_of(phase, iteration)
        if digest is None:
            raise InvalidInput(
                "MissingArtifact", f"{phase} of iteration {iteration} is not among the phases committed so far"
            )
        return self._reader.manifest(phase, iteration, digest)

    def fetch(self, manifest: Manifest, prefix: str, into: Path) -> Path:
        """Download and verify files; see `RunReader.fetch`."""
        return self._reader.fetch(manifest, prefix, into)

    def read_table(self, manifest: Manifest, name: str) -> pa.Table:
        """A Parquet file of a manifest, verified, as a table in memory."""
        return self._reader.read_table(manifest, name)

    # Chunks (Generation, Scoring, what Evaluation generates)

    def total_chunks(self) -> int:
        """How many chunks the phase has: those of the iteration's portion, in Generation for each policy. In Evaluation the
        held-out responses are one, and the answers to each suite, and what lm-eval found.
        """
        if self._total_chunks is None:
            self._total_chunks = self._count_chunks()
        return self._total_chunks

    def _count_chunks(self) -> int:
        if self.config.phase is Phase.EVALUATION:
            evaluation = self.config.evaluation
            return 1 + len(evaluation.answered) + (evaluation.lm_eval is not None)
        preparation = self.manifest(Phase.PREPARATION, 0)
        rows = preparation.file(portion_name(self.config)).rows
        if rows is None:
            raise InvalidInput("CorruptArtifact", f"{portion_name(self.config)} has no row count in its manifest")
        policies = len(self.config.generation.policies) if self.config.phase is Phase.GENERATION else 1
        return len(chunk_ranges(rows)) * policies

    def chunks(self) -> dict[int, ChunkManifest]:
        """The chunks of this phase that are committed from this input, by whichever pod."""
        found: dict[int, ChunkManifest] = {}
        for chunk in self._pointed_chunks():
            manifest = read_committed(self.store, chunk_place(self.place, chunk), ChunkManifest, self.input_digest)
            if manifest is not None:
                found[chunk] = manifest
        return found

    def commit_chunk(
        self,
        chunk: int,
        files: Mapping[str, Path],
        *,
        rows: int,
        metrics: Mapping[str, float] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> ChunkManifest:
        """Commit one chunk; where it is committed already, that one stands and is returned.

        Files are named within the chunk (`responses.parquet`). The store being away is waited out for
        10 minutes, then TemporaryFailure. Reports the chunks done.
        """
        place = chunk_place(self.place, chunk)

        def commit() -> ChunkManifest:
            done = read_committed(self.store, place, ChunkManifest, self.input_digest)
            if done is not None:
                return done
            within = f"{self.within}/chunks/{chunk:05d}"
            entries = upload_files(self.store, self.place, within, files)
            manifest = ChunkManifest(
                **self._identity(entries), rows=rows, metrics=dict(metrics or {}), facts=dict(facts or {}), chunk=chunk
            )
            return commit_manifest(self.store, place, manifest, self.config.attempt)

        committed = persistently(commit)
        self._chunks_by_this_pod += 1
        self._reporter.committed(chunks=(len(self._pointed_chunks()), self.total_chunks()))
        faults.reach("chunk-committed", self._chunks_by_this_pod)
        return committed

    def compose(self, total: int, summarise: Summarise | None = None) -> Manifest | None:
        """Commit the phase if all of its `total` chunks are committed, else None; whoever sees them all does it.

        A pure function of the chunks' manifests. Where the phase is committed already, that one is reported.
        """

        def commit() -> Manifest | None:
            done = self.committed()
            if done is not None:
                return done
            manifest = compose_manifest(
                self.config.phase, self.config.iteration, self.input_digest, self.chunks(), total, summarise
            )
            if manifest is None:
                return None
            faults.reach("before-commit")
            return commit_manifest(self.store, self.place, manifest, self.config.attempt)

        composed = persistently(commit)
        if composed is not None:
            self._reporter.committed(chunks=(total, total))
            self.settle(composed)
        return composed

    # The whole phase

    def committed(self) -> Manifest | None:
        """The phase's manifest if it is committed from this input."""
        return read_committed(self.store, self.place, Manifest, self.input_digest)

    def commit(
        self,
        files: Mapping[str, Path],
        *,
        rows: int,
        metrics: Mapping[str, float] | None = None,
        facts: Mapping[str, Any] | None = None,
        adopted: Iterable[FileEntry] = (),
    ) -> Manifest:
        """Commit a phase that one process writes: Preparation, Training (rank 0), Evaluation.

        `adopted` are files already in this pod's folder (copied within the store). The store being away is
        waited out for 10 minutes, then TemporaryFailure.
        """

        def commit() -> Manifest:
            done = self.committed()
            if done is not None:
                return done
            entries = (*upload_files(self.store, self.place, self.within, files), *adopted)
            manifest = Manifest(
                **self._identity(tuple(sorted(entries, key=lambda entry: entry.name))),
                rows=rows,
                metrics=dict(metrics or {}),
                facts=dict(facts or {}),
            )
            faults.reach("before-commit")
            return commit_manifest(self.store, self.place, manifest, self.config.attempt)

        committed = persistently(commit)
        self.settle(committed)
        return committed

    def can_adopt(self) -> bool:
        """Whether equal work of another run of the namespace may stand for this phase.

        Not where reuse is off, and not once this run has a chunk of the phase.
        """
        return self._hit() is not None

    def adopt(self, before: Callable[[Manifest], None] | None = None) -> Manifest | None:
        """Take over equal work by copies into this run's own folder; None where there is none to take.

        `before` is called with the manifest before it is committed here.
        """
        hit = self._hit()
        if hit is None:
            return None
        entries = reuse.adopt_files(self.store, hit, self.place, self.within)
        if entries is None:
            return self.committed()
        if before is not None:
            before(hit.manifest)
        adopted = persistently(
            lambda: commit_manifest(
                self.store, self.place, hit.manifest.model_copy(update={"files": entries}), self.config.attempt
            )
        )
        self.settle(adopted)
        return adopted

    def _hit(self) -> reuse.Hit | None:
        config = self.config
        if config.artifacts.reuse == "None" or config.phase in NEVER_REUSED or self.chunks():
            return None
        hit = reuse.find(self.store, config.run.namespace, config.phase.slug, self.input_digest)
        return None if hit is None or hit.folder == self.place else hit

    def settle(self, manifest: Manifest) -> None:
        """What follows a commit, and is made good by the next attempt where a kill left it out."""
        config = self.config
        self._reporter.committed(
            manifest=manifest.digest,
            rows=manifest.rows,
            metrics=manifest.metrics,
            best_iteration=manifest.facts.get("bestIteration") if config.phase is Phase.EVALUATION else None,
            model_uri=self._selected_model_uri(manifest) if config.phase is Phase.EVALUATION else None,
        )
        if config.phase is Phase.TRAINING:
            self.checkpoints.drop()
        self.store.abort_unfinished(f"{self.place}/", older_than_seconds=_ABANDONED_SECONDS)
        if config.artifacts.reuse != "None" and config.phase not in NEVER_REUSED:
            reuse.publish(self.store, config.run.namespace, config.phase.slug, self.input_digest, self.place, manifest)

    def model_uri(self, iteration: int) -> str:
        """Where the model of an iteration lies (0: the imported base), for people and for serving."""
        phase = Phase.TRAINING if iteration else Phase.PREPARATION
        entry = self.manifest(phase, iteration).file("model/config.json")
        key = f"{phase_folder(self.config.run, phase, iteration)}/{entry.path}"
        return self.store.uri_of(key.removesuffix("/config.json"))

    def _selected_model_uri(self, evaluation: Manifest) -> str | None:
        """Of the best iteration; of the newest where retention keeps only that."""
        best = evaluation.facts.get("bestIteration")
        if self.config.retention == "KeepLast":
            best = self.config.iteration
        return None if best is None else self.model_uri(int(best))

    # Checkpoints (Training)

    def upload_checkpoint(self, step: int, files: Mapping[str, Path]) -> tuple[FileEntry, ...]:
        """A rank's part, before the barrier; rank 0 passes the entries of the others to `commit_checkpoint`."""
        return self.checkpoints.upload(step, files)

    def commit_checkpoint(
        self,
        step: int,
        files: Mapping[str, Path],
        facts: Mapping[str, Any] | None = None,
        *,
        entries: Iterable[FileEntry] = (),
    ) -> Checkpoint:
        """By rank 0 after the barrier: its own files and the entries that other ranks uploaded. Reports the step."""
        own = self.checkpoints.upload(step, files)
        checkpoint = self.checkpoints.commit(step, (*own, *entries), facts or {})
        self._checkpoints_by_this_pod += 1
        self._reporter.committed(checkpoint_step=step)
        faults.reach("checkpoint-committed", self._checkpoints_by_this_pod)
        return checkpoint

    def latest_checkpoint(self, *, below: int | None = None) -> Checkpoint | None:
        """The newest checkpoint that was made from this input and whose files are there."""
        return self.checkpoints.latest(below=below)

    def fetch_checkpoint(self, checkpoint: Checkpoint, into: Path, prefix: str = "") -> Path:
        """Download and verify a checkpoint's files; InvalidInput (`CorruptArtifact`) where one is damaged."""
        return self.checkpoints.fetch(checkpoint, into, prefix)

    def prune_checkpoints(self, keep: int) -> None:
        """Keep the newest `keep` committed ones."""
        self.checkpoints.prune(keep)

    def drop_checkpoints_after(self, step: int) -> None:
        """Remove those of later steps than the one that is gone on from; all with -1."""
        self.checkpoints.drop_after(step)

    def _identity(self, entries: tuple[FileEntry, ...]) -> dict[str, Any]:
        return {
            "phase": self.config.phase,
            "iteration": self.config.iteration,
            "input_digest": self.input_digest,
            "content_digest": content_digest(entries),
            "files": entries,
        }

    def _pointed_chunks(self) -> list[int]:
        """Chunks that have a pointer, whatever they were made from, by one listing."""
        prefix = f"{self.place}/chunks/"
        names = (info.key.removeprefix(prefix).split("/") for info in self.store.list(prefix))
        return sorted(int(name[0]) for name in names if len(name) == 2 and name[1] == POINTER and name[0].isdigit())


def portion_of(config: PhaseConfig, iteration: int | None = None) -> int:
    """The portion (from 1) whose rows an iteration takes, the config's if none is named: (t - 1) mod portions."""
    t = config.iteration if iteration is None else iteration
    return (t - 1) % config.data.portions + 1


def portion_name(config: PhaseConfig, iteration: int | None = None) -> str:
    """The logical name, in Preparation's manifest, of an iteration's rows."""
    return f"rows/portion-{portion_of(config, iteration):04d}.parquet"
