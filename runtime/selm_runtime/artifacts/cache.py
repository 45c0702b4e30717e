"""Model weights on the node: fetched once, verified, shared by pods, evicted by size."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from selm_runtime.artifacts.manifest import Manifest


class Fetcher(Protocol):
    def __call__(self, manifest: Manifest, prefix: str, into: Path) -> Path: ...


class ModelCache:
    """Models below `root`, by content digest."""

    def __init__(self, root: Path, fetch: Fetcher, *, limit_bytes: int | None = None) -> None:
        self._root = root
        self._fetch = fetch
        self._limit_bytes = limit_bytes

    def model(self, manifest: Manifest, prefix: str = "model/") -> Path:
        """A local folder in Hugging Face layout with the manifest's files under `prefix`; not to be written to."""
        target = self._root / manifest.content_under(prefix).removeprefix("sha256:")
        if not target.exists():
            self._fetch(manifest, prefix, target)
        return target
