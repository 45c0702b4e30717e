"""Preparation in this process: a model, data and a store on disk."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from selm_runtime import prepare
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.artifacts.reader import RunReader
from selm_runtime.contract import Phase, PhaseConfig
from selm_runtime.phase import open_context
from selm_runtime.reporting import Reporter
from support.phase_configs import merge, phase_config
from support.tiny_model import make_prefs


class World:
    """A model, data and a store on disk; `prepare` runs the phase as a pod would."""

    def __init__(self, tmp_path: Path, models: Path) -> None:
        self.root = tmp_path
        shutil.copytree(models / "policy", tmp_path / "model")
        shutil.copytree(models / "reward", tmp_path / "reward")
        make_prefs(tmp_path / "data" / "train.jsonl", 50)
        self.lines = io.StringIO()

    def config(self, **change: Any) -> PhaseConfig:
        base = {
            "artifacts": {"uri": f"file://{self.root}/store"},
            "model": {"uri": f"file://{self.root}/model"},
            "data": {"uri": f"file://{self.root}/data"},
        }
        return phase_config(**merge(base, change))

    def prepare(self, config: PhaseConfig | None = None, *, writer: str = "w1") -> Manifest:
        config = config or self.config()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SELM_WRITER_ID", writer)
            patch.setenv("SELM_TIME_SCALE", "0.001")
            patch.setenv("SELM_CACHE_DIR", str(self.root / "cache"))
            with open_context(config, 0, Reporter(config.phase, 0, 0, stream=self.lines)) as ctx:
                prepare.run(ctx)
                manifest = ctx.folder.committed()
        assert manifest is not None
        return manifest

    def table(self, manifest: Manifest, name: str, config: PhaseConfig | None = None) -> pa.Table:
        with open_context(config or self.config(), 0, Reporter(Phase.PREPARATION, 0, 0, stream=self.lines)) as ctx:
            return RunReader(ctx.store, ctx.config.run).read_table(manifest, name)

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [line for line in lines if line["selm"] == kind]
