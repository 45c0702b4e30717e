"""Where everything lives in the store: pure functions from names to keys."""

from __future__ import annotations

from selm_runtime.contract import Phase, RunRef

POINTER = "manifest.json"
"""Last object of a commit: names the immutable manifest beside it."""


def run_folder(run: RunRef) -> str:
    """The run's own folder; the uid keeps a re-created run of the same name apart."""
    return f"{run.namespace}/{run.name}-{run.uid}"


def phase_folder(run: RunRef, phase: Phase, iteration: int) -> str:
    return f"{run_folder(run)}/iter-{iteration}/{phase.slug}"


def pointer_key(place: str) -> str:
    """`place` is a phase's, a chunk's or a checkpoint's folder."""
    return f"{place}/{POINTER}"


def manifest_key(place: str, digest: str) -> str:
    return f"{place}/manifests/{hex_of(digest)}.json"


def chunk_place(folder: str, chunk: int) -> str:
    return f"{folder}/chunks/{chunk:05d}"


def checkpoints_place(folder: str) -> str:
    return f"{folder}/checkpoints"


def checkpoint_place(folder: str, step: int) -> str:
    return f"{checkpoints_place(folder)}/{step:08d}"


def writer_path(writer: str) -> str:
    """Where a pod's data goes, relative to the phase's folder: two pods never share a folder."""
    return f"pod-{writer}"


def by_input_key(namespace: str, kind: str, input_digest: str) -> str:
    """The pointer from what a result was made from to the result; never read across namespaces."""
    return f"{namespace}/by-input/{kind}/{hex_of(input_digest)}"


def hex_of(digest: str) -> str:
    """`sha256:<hex>` without its prefix: colons trouble some stores and file systems in keys."""
    return digest.removeprefix("sha256:")
