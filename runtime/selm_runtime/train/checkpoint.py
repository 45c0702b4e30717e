"""Checkpoints: taken at a step boundary on which all ranks agree, uploaded in the background, committed by rank 0.

Between steps no rank waits for the store: its client is patient with one that is silent for longer than the ranks are
with each other, so that the others would take rank 0 for lost. The commit is made in the background, too.

A checkpoint holds every rank's part of weights and optimizer as DeepSpeed writes it (`rank-<r>/`), the reference's
log-probs and the metrics so far (`trainer/`). Step 0 has the latter alone: the weights are the policy's own then.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from selm_runtime import faults
from selm_runtime.artifacts.checkpoints import Checkpoint
from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.manifest import FileEntry
from selm_runtime.artifacts.upload import files_below, persistently
from selm_runtime.contract import TrainingConfig
from selm_runtime.errors import InvalidInput, PhaseFailure, TemporaryFailure
from selm_runtime.reporting import Reporter
from selm_runtime.train.engine import Engine, zero_stage_of
from selm_runtime.train.job import Stop
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.reference import ReferenceTable

log = logging.getLogger(__name__)

PARTIAL = "partialReference"
"""Fact of a checkpoint at step 0 whose reference pass was not through."""

History = list[dict[str, float]]


@dataclass(frozen=True)
class Progress:
    """How far training has come: steps done, the reference, and each step's metrics."""

    step: int
    reference: ReferenceTable
    history: History
    reference_is_whole: bool = True
    """False where the reference pass was not through; then it is step 0, too."""


@dataclass(frozen=True)
class _Upload:
    step: int
    folder: Path
    entries: Future[tuple[FileEntry, ...]]
    started: float


@dataclass(frozen=True)
class _Commit:
    """Rank 0's, under way."""

    step: int
    bytes: int
    started: float
    done: Future[None]


def world_facts(training: TrainingConfig) -> dict[str, int]:
    """What the parts of a checkpoint fit: changed, training begins anew from its first step (parts are not resharded)."""
    return {"nodes": training.nodes, "ranksPerNode": training.ranks_per_node, "zeroStage": zero_stage_of(training)}


def asked_to_go(kept: int, reached: int) -> str:
    """The last words of a training that was asked to end: which step the next attempt begins with."""
    lost = "" if kept == reached else f" (step {reached} was reached, but the store did not take its checkpoint)"
    return f"the pod was asked to end; the checkpoint at step {kept} is what the next attempt takes{lost}"


class Checkpointer:
    """The checkpoints of one attempt, on one rank. Every method is called by all ranks alike."""

    def __init__(
        self, folder: PhaseFolder, training: TrainingConfig, ranks: Ranks, scratch: Path, reporter: Reporter
    ) -> None:
        self._folder = folder
        self._training = training
        self._ranks = ranks
        self._scratch = scratch
        self._reporter = reporter
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint-upload")
        self._pending: _Upload | None = None
        self._commit: _Commit | None = None
        self._last = time.monotonic()
        self._committed = 0

    @property
    def committed(self) -> int:
        """Step of the newest committed checkpoint, as rank 0 knows it; the same on all ranks."""
        step = self._ranks.from_first(self._committed)
        assert step is not None
        return step

    # Resuming

    def restore(self, stop: Stop) -> tuple[Progress, Path | None] | None:
        """The newest checkpoint of this input that verifies: (progress, folder for `Engine.load`).

        The folder is None at step 0. Of a checkpoint of another world shape the reference is taken alone, which is the same
        on any number of ranks, and step 0 is begun with. What cannot be gone on from is removed, so that it stands in no new
        one's way. `stop` is looked at between files: TemporaryFailure on every rank once one was asked to go.
        """
        below: int | None = None
        while True:
            found = self._ranks.from_first(
                self._folder.latest_checkpoint(below=below) if self._ranks.is_first else None
            )
            if found is None:
                self._go_on_from(-1)
                return None
            fits = found.step == 0 or found.facts == world_facts(self._training)
            into = self._scratch / "restored" / str(found.step)
            fetched = self._fetch(found, into, stop, parts=fits and found.step > 0)
            asked, failed = self._ranks.most([stop.requested, not fetched])
            if asked:
                raise TemporaryFailure("Preempted", "the pod was asked to end while a checkpoint was brought to it")
            if not failed and fits:
                self._go_on_from(found.step)
                return self._read(found, into)
            if not failed:
                return self._begin_anew(found, into), None
            below = found.step

    def _begin_anew(self, found: Checkpoint, into: Path) -> Progress:
        """Step 0 of this world, with the reference of another one's checkpoint."""
        if self._ranks.is_first:
            self._reporter.event(
                "warning",
                reason="CheckpointOfAnotherWorld",
                step=found.step,
                made_by=found.facts,
                this_attempt=world_facts(self._training),
                message="training begins anew from its first step",
            )
        table = ReferenceTable.read(into / "reference.parquet")
        self.commit_reference(table)
        return Progress(0, table, [])

    def _go_on_from(self, step: int) -> None:
        if self._ranks.is_first:
            self._folder.drop_checkpoints_after(step)

    def _fetch(self, checkpoint: Checkpoint, into: Path, stop: Stop, *, parts: bool) -> bool:
        """Bring what this node's ranks need, `parts` of weights and optimizer included; False where a file is damaged or gone, or the pod is to go."""
        if not self._ranks.is_first_of_node:
            return True
        first = self._ranks.rank
        prefixes = ["trainer/"]
        if parts:
            prefixes += [f"{_rank_folder(rank)}/" for rank in range(first, first + self._ranks.local_size)]
            if zero_stage_of(self._training) < 3 and first > 0:
                prefixes.append(f"{_rank_folder(0)}/mp_rank_")  # the weights, which rank 0 saved for all
        try:
            for prefix in prefixes:
                # File by file, to look at `stop` between them; what is under no prefix is refused by the fetch.
                for name in [entry.name for entry in checkpoint.under(prefix)] or [prefix]:
                    if stop.requested:
                        return False
                    self._folder.fetch_checkpoint(checkpoint, into, name)
        except InvalidInput as error:
            log.warning("checkpoint at step %d cannot be used: %s", checkpoint.step, error)
            return False
        return True

    def _read(self, checkpoint: Checkpoint, into: Path) -> tuple[Progress, Path | None]:
        history = json.loads((into / "history.json").read_text())
        self._committed = checkpoint.step
        table, whole = ReferenceTable.read(into / "reference.parquet"), PARTIAL not in checkpoint.facts
        progress = Progress(checkpoint.step, table, history, whole)
        return progress, into if checkpoint.step > 0 else None

    # Saving

    def commit_reference(self, reference: ReferenceTable, *, whole: bool = True) -> None:
        """Step 0, before the first step: a resumed policy is no longer the reference. Waits for the store.

        Not `whole`: the rows that have been run so far, which the next attempt does not run again.
        """
        if self._ranks.is_first:
            files = self._trainer_files(self._scratch / "checkpoint-0", Progress(0, reference, []))
            facts = world_facts(self._training) | ({} if whole else {PARTIAL: True})

            def commit() -> None:
                self._folder.drop_checkpoints_after(-1)  # the part that was kept before
                self._folder.commit_checkpoint(0, files, facts)

            persistently(commit)
            if whole:
                faults.reach("reference-done")
        self._ranks.barrier()
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether rank 0's clock asks for one (the others follow it)."""
        waited = time.monotonic() - self._last
        idle = self._pending is None and self._commit is None
        return self._ranks.is_first and idle and waited >= self._training.checkpoint.interval_seconds

    def begin(self, engine: Engine, progress: Progress) -> None:
        """Save to the local disk now, upload in the background."""
        self.settle(wait=True)
        started = time.monotonic()
        folder = self._scratch / f"checkpoint-{progress.step}"
        own = folder / _rank_folder(self._ranks.rank)
        own.mkdir(parents=True)
        engine.save(own)
        files = files_below(own, f"{own.name}/")
        if self._ranks.is_first:
            files |= self._trainer_files(folder, progress)
        entries = self._executor.submit(self._folder.upload_checkpoint, progress.step, files)
        self._pending = _Upload(progress.step, folder, entries, started)

    def settle(self, *, wait: bool) -> bool:
        """Have the pending checkpoint committed once every rank has uploaded its part; forget it where one could not.

        True where none is pending any more that was. With `wait` rank 0 comes back when the commit is made, else it is
        looked at in a later call. A checkpoint that fails costs progress at the next kill, never the training at work.
        """
        uploaded = self._gathered(wait=wait)
        if self._commit is not None and (wait or self._commit.done.done()):
            self._tell(self._commit)
            self._commit = None
        return uploaded

    def _gathered(self, *, wait: bool) -> bool:
        pending = self._pending
        if pending is None:
            return False
        if self._ranks.most([float(not wait and not pending.entries.done())])[0]:
            return False
        entries: Sequence[FileEntry] | None
        try:
            entries = pending.entries.result()
        except PhaseFailure as error:
            log.warning("upload of the checkpoint at step %d failed: %s", pending.step, error)
            entries = None
        parts = self._ranks.gather(entries)
        whole = [entry for part in parts if part is not None for entry in part]
        if self._ranks.is_first and all(part is not None for part in parts):
            done = self._executor.submit(self._commit_now, pending.step, whole)
            self._commit = _Commit(pending.step, sum(entry.size for entry in whole), pending.started, done)
        shutil.rmtree(pending.folder, ignore_errors=True)
        self._pending = None
        self._last = time.monotonic()
        return True

    def _commit_now(self, step: int, entries: list[FileEntry]) -> None:
        """In the background; the others take part in nothing of it."""
        self._folder.commit_checkpoint(step, {}, world_facts(self._training), entries=entries)
        self._folder.prune_checkpoints(self._training.checkpoint.keep)

    def _tell(self, commit: _Commit) -> None:
        """How a commit ended; waits for its end."""
        try:
            commit.done.result()
        except PhaseFailure as error:
            log.warning("commit of the checkpoint at step %d failed: %s", commit.step, error)
            return
        self._committed = commit.step
        seconds = round(time.monotonic() - commit.started, 3)
        self._reporter.event("checkpoint", step=commit.step, bytes=commit.bytes, seconds=seconds)

    def _trainer_files(self, folder: Path, progress: Progress) -> dict[str, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        reference, history = folder / "reference.parquet", folder / "history.json"
        progress.reference.write(reference)
        history.write_text(json.dumps(progress.history))
        return {"trainer/reference.parquet": reference, "trainer/history.json": history}


def _rank_folder(rank: int) -> str:
    return f"rank-{rank:04d}"
