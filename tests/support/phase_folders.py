"""Pods of one phase in tests: folders of a store as several writers see them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.layout import phase_folder
from selm_runtime.artifacts.manifest import FileEntry, Manifest, content_digest, digest_of
from selm_runtime.artifacts.store import Store
from selm_runtime.contract import CommittedPhase, Phase, PhaseConfig
from selm_runtime.reporting import Reporter
from support.phase_configs import phase_config

INPUT = digest_of("input")


class Pod:
    """One writer of a phase, with what it reported."""

    def __init__(
        self,
        store: Store,
        scratch: Path,
        *,
        writer: str = "w1",
        config: PhaseConfig | None = None,
        input_digest: str = INPUT,
    ) -> None:
        self.config = config or phase_config(phase="Generation", iteration=1)
        self.scratch = scratch / writer
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.log = self.scratch / "termination-log"
        self.lines = io.StringIO()
        self.reporter = Reporter(
            self.config.phase, self.config.iteration, 0, termination_log=self.log, stream=self.lines
        )
        self.folder = PhaseFolder(store, self.config, input_digest=input_digest, writer=writer, reporter=self.reporter)

    def file(self, name: str, data: bytes) -> Path:
        path = self.scratch / name.replace("/", "-")
        path.write_bytes(data)
        return path

    def files(self, contents: Mapping[str, bytes]) -> dict[str, Path]:
        return {name: self.file(name, data) for name, data in contents.items()}

    @property
    def message(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.log.read_text()) if self.log.exists() else {}
        return said


def commit_preparation(store: Store, rows: int, config: PhaseConfig | None = None) -> PhaseConfig:
    """A Preparation's manifest with one portion of `rows` rows; the config that knows of it."""
    base = config or phase_config(phase="Generation", iteration=1)
    portions = base.data.portions
    entries = tuple(
        FileEntry(name=f"rows/portion-{n:04d}.parquet", path=f"pod-p/rows/{n}", size=1, sha256="0" * 64, rows=rows)
        for n in range(1, portions + 1)
    )
    manifest = Manifest(
        phase=Phase.PREPARATION,
        iteration=0,
        input_digest=INPUT,
        content_digest=content_digest(entries),
        rows=rows * portions,
        files=entries,
    )
    place = phase_folder(base.run, Phase.PREPARATION, 0)
    store.put(f"{place}/manifests/{manifest.digest.removeprefix('sha256:')}.json", manifest.to_bytes())
    committed = CommittedPhase(iteration=0, phase=Phase.PREPARATION, manifest=manifest.digest)
    return base.model_copy(update={"committed": (committed,)})
