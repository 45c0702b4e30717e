"""`spec.data.selection`: the base model's forward pass over the training rows, in Preparation, and what is kept of them.

The model has just been imported; it comes back through the node's cache, where the later phases find it, too. The figures are
kept beside the rows and are found by runs of the namespace that ask the same model about the same rows, whatever share of
them those keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.artifacts import reuse
from selm_runtime.artifacts.manifest import FileEntry, Manifest, content_digest, digest_of, sha256_of_file
from selm_runtime.artifacts.reader import RunReader
from selm_runtime.contract import SelectionConfig
from selm_runtime.data.fit import copy_places, fit, fittest, measured, rows_kept
from selm_runtime.data.rows import BATCH_ROWS, read_rows
from selm_runtime.data.tokens import load_tokenizer
from selm_runtime.phase import PhaseContext
from selm_runtime.prepare.models import Imported
from selm_runtime.tables import FIT

FOLDER = "fit/"
FILE = f"{FOLDER}log-probs.parquet"
KIND = "fit"
"""The kind of by-input pointers to the figures."""


@dataclass(frozen=True)
class Selected:
    """The rows that are kept, and what is committed of the choice."""

    rows: Path
    files: dict[str, Path]
    """Made here; empty where the figures were found."""
    adopted: tuple[FileEntry, ...]
    """Found; empty where they were made here."""
    facts: dict[str, Any]
    key: str | None
    """Under which later runs find the figures."""


def select_rows(ctx: PhaseContext, selection: SelectionConfig, model: Imported, rows: Path) -> Selected:
    """Keep the rows of a file that fit the imported model best, in the data's order.

    Raises InvalidInput for a model that cannot be run or gives no numbers, TemporaryFailure when the pod is to go.
    """
    key = _key(ctx, selection, model, rows) if ctx.config.artifacts.reuse != "None" else None
    adopted = () if key is None else _adopt(ctx, key)
    path = ctx.scratch / "fit.parquet"
    if adopted:
        RunReader(ctx.store, ctx.config.run, ctx.stop.check).fetch_entry(ctx.folder.place, adopted[0], path)
        ctx.reporter.event("fit-reused", rows=adopted[0].rows)
    else:
        _measure(ctx, selection, model, rows, path)
    log_probs = pq.read_table(path, schema=FIT).column("log_prob").to_pylist()
    places = fittest(log_probs, rows_kept(len(log_probs), selection.keep))
    kept = ctx.scratch / "selected-rows.parquet"
    copy_places(rows, places, kept)
    inside = frozenset(places)
    others = [value for place, value in enumerate(log_probs) if place not in inside]
    facts = {
        "of": selection.of,
        "keep": selection.keep,
        "rows": len(log_probs),
        "kept": len(places),
        "meanLogProbKept": fmean(log_probs[place] for place in places),
        "meanLogProbLeftOut": fmean(others) if others else None,
    }
    return Selected(kept, {} if adopted else {FILE: path}, adopted, facts, key)


def publish_fit(ctx: PhaseContext, selected: Selected, manifest: Manifest) -> None:
    """Let later runs of the namespace find the figures, once Preparation is committed."""
    if selected.key is not None:
        reuse.publish(ctx.store, ctx.config.run.namespace, KIND, selected.key, ctx.folder.place, manifest, FOLDER)


def _key(ctx: PhaseContext, selection: SelectionConfig, model: Imported, rows: Path) -> str:
    """What the figures are a function of: not the share that is kept."""
    training = ctx.config.training
    return digest_of(
        {
            "contract": ctx.config.contract_version,
            "model": model.facts["contentDigest"],
            "rows": sha256_of_file(rows),
            "of": selection.of,
            "lengths": [training.max_length, training.max_prompt_length, training.truncation],
        }
    )


def _adopt(ctx: PhaseContext, key: str) -> tuple[FileEntry, ...]:
    hit = reuse.find(ctx.store, ctx.config.run.namespace, KIND, key)
    if hit is None:
        return ()
    return reuse.adopt_files(ctx.store, hit, ctx.folder.place, ctx.folder.within, prefix=FOLDER) or ()


def _measure(ctx: PhaseContext, selection: SelectionConfig, model: Imported, rows: Path, target: Path) -> None:
    """Write a FIT table in the order of the rows, in bounded memory."""
    # Imported here: nothing else in Preparation needs torch.
    from selm_runtime.evaluate.forward import LoadedModel, Passage

    local = ctx.cache.model(_provisional(ctx, model))
    tokenizer = load_tokenizer(local, trust_remote_code=ctx.config.model.trust_remote_code)
    total = pq.read_metadata(rows).num_rows
    done = 0

    def between(count: int) -> None:
        nonlocal done
        done += count
        ctx.stop.check()
        ctx.reporter.progress(done=done, total=total, unit="rows")

    with ctx.reporter.stage("fit"), pq.ParquetWriter(target, FIT) as writer:
        network = LoadedModel(local, ctx.config, max_length=ctx.config.training.max_length)
        for batch in _batches(read_rows([rows])):
            texts = {row["row"]: measured(tokenizer, row, selection.of, ctx.config.training) for row in batch}
            passages = [
                Passage(row, tuple(text.context), tuple(tuple(ids) for ids in text.texts))
                for row, text in texts.items()
            ]
            sums = network.sums(passages, between)
            found = [{"row": row, "log_prob": fit(text, sums[row])} for row, text in texts.items()]
            writer.write_table(pa.Table.from_pylist(found, schema=FIT))
        network.free()


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _provisional(ctx: PhaseContext, model: Imported) -> Manifest:
    """The imported model as the cache takes models: as files of this phase's folder, which is not committed yet."""
    return Manifest(
        phase=ctx.config.phase,
        iteration=ctx.config.iteration,
        input_digest=ctx.folder.input_digest,
        content_digest=content_digest(model.entries),
        rows=0,
        files=model.entries,
    )
