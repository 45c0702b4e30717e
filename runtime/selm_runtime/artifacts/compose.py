"""The manifest of a phase as a pure function of its chunks' manifests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selm_runtime.artifacts.manifest import ChunkManifest, Manifest, content_digest
from selm_runtime.contract import Phase

Summary = tuple[Mapping[str, float], Mapping[str, Any]]
Summarise = Callable[[Sequence[ChunkManifest]], Summary]
"""From the chunks in order to the phase's (metrics, facts)."""


def chunk_name(chunk: int, name: str) -> str:
    """The logical name, in the phase's manifest, of a chunk's file."""
    return f"chunks/{chunk:05d}/{name}"


def compose_manifest(
    phase: Phase,
    iteration: int,
    input_digest: str,
    chunks: Mapping[int, ChunkManifest],
    total: int,
    summarise: Summarise | None = None,
) -> Manifest | None:
    """None while one of the `total` chunks is missing.

    Chunk metrics are summed under `facts["sums"]`; `summarise` adds the phase's own metrics and facts.
    """
    if any(chunk not in chunks for chunk in range(total)):
        return None
    ordered = [chunks[chunk] for chunk in range(total)]
    files = tuple(
        entry.model_copy(update={"name": chunk_name(chunk.chunk, entry.name)})
        for chunk in ordered
        for entry in chunk.files
    )
    metrics, facts = summarise(ordered) if summarise else ({}, {})
    return Manifest(
        phase=phase,
        iteration=iteration,
        input_digest=input_digest,
        content_digest=content_digest(files),
        rows=sum(chunk.rows for chunk in ordered),
        files=files,
        metrics=dict(metrics),
        facts={"chunks": total, "sums": _sums(ordered), **facts},
    )


def _sums(chunks: Sequence[ChunkManifest]) -> dict[str, float]:
    names = sorted({name for chunk in chunks for name in chunk.metrics})
    return {name: math.fsum(chunk.metrics.get(name, 0.0) for chunk in chunks) for name in names}
