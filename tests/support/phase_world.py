"""A run's phases in one process, over a file store: commit a Preparation, then open contexts of later phases."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.artifacts.chunks import chunk_ranges
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import CommittedPhase, Phase, PhaseConfig
from selm_runtime.phase import PhaseContext, open_context
from selm_runtime.reporting import Reporter
from selm_runtime.tables import PROMPTS, RESPONSES


class PhaseWorld:
    """Names, config and what is committed so far. `settings` are merged into the phase config, group by group."""

    def __init__(self, root: Path, **settings: Mapping[str, Any]) -> None:
        self.root = root
        self.committed: list[CommittedPhase] = []
        self.lines = io.StringIO()
        self._settings = settings

    def config(self, phase: Phase, iteration: int, *, attempt: int = 1, **settings: Mapping[str, Any]) -> PhaseConfig:
        """A phase config as the operator would write it; `settings` again override."""
        groups: dict[str, Any] = {
            "model": {"uri": "file:///model"},
            "data": {"uri": "file:///data", "portions": 1},
            "generation": {"temperature": 0.8, "topP": 1.0, "maxTokens": 12, "samplesPerPrompt": 2},
            "scoring": {"scorers": [{"name": "shape", "rules": [{"type": "Length", "target": 4.0}]}]},
            "training": {
                "objective": {"type": "SELM", "alpha": 0.001, "beta": 0.1},
                "learningRate": 1e-3,
                "batchSize": 4,
                "maxTokensPerMicroBatch": 2048,
                "maxLength": 256,
                "maxPromptLength": 128,
                "precision": "Float32",
            },
        }
        plain: dict[str, Any] = {"seed": 7, "iterations": 3}
        for name, value in [*self._settings.items(), *settings.items()]:
            if isinstance(value, Mapping):
                groups[name] = {**groups.get(name, {}), **value}
            else:
                plain[name] = value
        return PhaseConfig.model_validate(
            {
                "run": {"namespace": "default", "name": "tiny", "uid": "u1"},
                "phase": phase,
                "iteration": iteration,
                "attempt": attempt,
                "artifacts": {"uri": f"file://{self.root / 'store'}", "reuse": "None"},
                "committed": [done.model_dump() for done in self.committed],
                **plain,
                **groups,
            }
        )

    @contextmanager
    def context(self, phase: Phase, iteration: int, index: int = 0, **options: Any) -> Iterator[PhaseContext]:
        """What a phase's `run` is given; JSON lines go to `lines`."""
        reporter = Reporter(phase, iteration, index, stream=self.lines)
        (self.root / "store").mkdir(exist_ok=True)
        with open_context(self.config(phase, iteration, **options), index, reporter) as ctx:
            yield ctx

    def prepare(
        self,
        model: Path,
        rows: Sequence[Mapping[str, Any]],
        held_out: Sequence[Mapping[str, Any]] = (),
        scorers: Mapping[str, Path] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> Manifest:
        """Commit a Preparation of one portion; rows are UltraFeedback rows as `preference_rows` makes them. `files` are
        further ones, by their logical names.
        """
        with self.context(Phase.PREPARATION, 0) as ctx:
            made = {f"model/{path.name}": path for path in model.iterdir()}
            made |= files or {}
            for name, folder in (scorers or {}).items():
                made |= {f"scorers/{name}/{path.name}": path for path in folder.iterdir()}
            for name, its_rows in (("portion-0001", rows), ("held-out", held_out)):
                made[f"rows/{name}.parquet"] = self._table(ctx.scratch / f"{name}.parquet", its_rows)
            manifest = ctx.folder.commit(made, rows=len(rows), facts={"portions": [len(rows)]})
        return self.record(manifest)

    def commit_model(self, model: Path, iteration: int) -> Manifest:
        """A Training phase that made this model, on offline pairs where no Scoring of the iteration is committed."""
        scored = any((done.phase, done.iteration) == (Phase.SCORING, iteration) for done in self.committed)
        pairs = "Online" if scored else "Offline"
        with self.context(Phase.TRAINING, iteration, training={"pairs": pairs}) as ctx:
            files = {f"model/{path.name}": path for path in model.iterdir()}
            manifest = ctx.folder.commit(files, rows=0)
        return self.record(manifest)

    def commit_responses(self, texts: Sequence[str], rows: int, iteration: int = 1) -> Manifest:
        """A Generation of the current policy: the texts are every row's samples, two tokens each."""
        with self.context(Phase.GENERATION, iteration) as ctx:
            ranges = chunk_ranges(rows)
            for chunk, its_rows in enumerate(ranges):
                records = [
                    {
                        "row": row,
                        "policy": "Current",
                        "sample": sample,
                        "prompt_ids": [1, 3, row],
                        "response_ids": [20 + sample, 2],
                        "text": text,
                        "finish_reason": "stop",
                    }
                    for row in its_rows
                    for sample, text in enumerate(texts)
                ]
                path = ctx.scratch / "responses.parquet"
                pq.write_table(pa.Table.from_pylist(records, schema=RESPONSES), path)
                ctx.folder.commit_chunk(chunk, {"responses.parquet": path}, rows=len(records))
            return self.record(ctx.folder.compose(len(ranges)))

    def record(self, manifest: Manifest | None) -> Manifest:
        """Later phases are told of it, as by the operator."""
        assert manifest is not None
        done = CommittedPhase(iteration=manifest.iteration, phase=manifest.phase, manifest=manifest.digest)
        self.committed.append(done)
        return manifest

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The JSON lines of one kind so far."""
        said = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [line for line in said if line["selm"] == kind]

    def _table(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
        records = [
            {
                "row": i,
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "chosen": row["chosen"][-1]["content"] if row.get("chosen") else None,
                "rejected": row["rejected"][-1]["content"] if row.get("rejected") else None,
                "columns": [("topic", row["topic"])],
            }
            for i, row in enumerate(rows)
        ]
        pq.write_table(pa.Table.from_pylist(records, schema=PROMPTS), path)
        return path
