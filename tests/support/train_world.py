"""A run's store with everything that Training reads, and pods that train from it, as processes of this machine."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.artifacts.pointer import read_pointed
from selm_runtime.artifacts.store import open_store
from selm_runtime.artifacts.upload import files_below
from selm_runtime.contract import (
    ENV_CACHE_DIR,
    ENV_COMPLETION_INDEX,
    ENV_PHASE_CONFIG,
    ENV_TERMINATION_LOG,
    ENV_WRITER_ID,
    CommittedPhase,
    Phase,
    PhaseConfig,
    RendezvousConfig,
)
from selm_runtime.reporting import Reporter
from selm_runtime.tables import PAIRS, PROMPTS
from support.tiny_model import make_tiny_model, make_tokenizer

VOCABULARY = 262
FIRST_TEXT_TOKEN = 6
EOS = 2


def random_tokens(chance: random.Random, length: int, *, end: bool = True) -> list[int]:
    """`length` token ids of the tiny tokenizer, the last of them EOS."""
    ids = [chance.randrange(FIRST_TEXT_TOKEN, VOCABULARY) for _ in range(length)]
    return [*ids[:-1], EOS] if end else ids


def pair_record(row: int, chance: random.Random) -> dict[str, Any]:
    """A row of PAIRS; the explored response is the chosen one, the rejected one or a third, in turn."""
    prompt = [1, *random_tokens(chance, chance.randint(4, 12), end=False)]
    chosen, rejected, other = (random_tokens(chance, chance.randint(3, 14)) for _ in range(3))
    explored = (chosen, rejected, other)[row % 3]
    more = random.Random(row)  # apart, so that the rest stays what it was
    answers = {
        "Current:0": explored,
        "Current:1": random_tokens(more, more.randint(3, 9)),
        "Reference:0": random_tokens(more, more.randint(3, 9)),
    }
    return {
        "row": row,
        "prompt_ids": prompt,
        "chosen_ids": chosen,
        "rejected_ids": rejected,
        "explored_ids": explored,
        "chosen_source": "Current:0",
        "rejected_source": "Current:1",
        "explored_source": "Current:0",
        "chosen_score": 1.0,
        "rejected_score": 0.0,
        "candidates": [
            {"source": source, "ids": ids, "text": "", "finish_reason": "stop", "score": 0.0}
            for source, ids in answers.items()
        ],
    }


def training_settings(**changes: Any) -> dict[str, Any]:
    return {
        "objective": {"type": "SELM", "alpha": 0.5, "beta": 0.1},
        "learningRate": 1e-3,
        "precision": "Float32",
        "batchSize": 4,
        "maxTokensPerMicroBatch": 128,
        "maxLength": 64,
        "maxPromptLength": 32,
        "zeroStage": 2,
        **changes,
    }


@dataclass
class TrainWorld:
    """Runs at `folder`, all made from equal inputs: `pairs` rows in two chunks, and as many offline rows."""

    folder: Path
    pairs: int = 18
    seed: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes of the base that differ from the tiny model's, by their names in a Llama config."""
    _committed: dict[str, tuple[CommittedPhase, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        model = make_tiny_model(self.folder / "base", self.seed, **self.sizes)
        rows = self.folder / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([self._prompt(row) for row in range(self.pairs)], PROMPTS), rows)
        self._prepared = {**files_below(model, "model/"), "rows/portion-0001.parquet": rows}
        chance = random.Random(self.seed)
        records = [pair_record(row, chance) for row in range(self.pairs)]
        self._scored = {}
        for chunk, part in enumerate((records[: self.pairs // 2], records[self.pairs // 2 :])):
            path = self.folder / f"pairs-{chunk}.parquet"
            pq.write_table(pa.Table.from_pylist(part, PAIRS), path)
            self._scored[f"chunks/{chunk:05d}/pairs.parquet"] = path

    def config(self, name: str = "run", *, attempt: int = 1, iteration: int = 1, **training: Any) -> PhaseConfig:
        """Training of an iteration (1 or 2) of the run `name`, whose earlier phases are committed on first use."""
        if name not in self._committed:
            self._committed[name] = ()
            earlier: list[tuple[Phase, int, dict[str, Path]]] = [
                (Phase.PREPARATION, 0, self._prepared),
                (Phase.SCORING, 1, self._scored),
            ]
            if iteration == 2:
                trained = make_tiny_model(self.folder / "trained", self.seed + 1)
                earlier += [(Phase.TRAINING, 1, files_below(trained, "model/")), (Phase.SCORING, 2, self._scored)]
            for phase, past, files in earlier:
                folder = self.phase_folder(self._config(phase, past, 1, name, training_settings()))
                digest = folder.commit(files, rows=self.pairs).digest
                self._committed[name] += (CommittedPhase(iteration=past, phase=phase, manifest=digest),)
        return self._config(Phase.TRAINING, iteration, attempt, name, training_settings(**training))

    def phase_folder(self, config: PhaseConfig, input_digest: str = "sha256:" + "1" * 64) -> PhaseFolder:
        reporter = Reporter(config.phase, config.iteration, 0)
        return PhaseFolder(
            open_store(config.artifacts), config, input_digest=input_digest, writer="test", reporter=reporter
        )

    def run_pods(
        self,
        config: PhaseConfig,
        *,
        faults: str = "",
        wait: bool = True,
        only: tuple[int, ...] | None = None,
        **environment: str,
    ) -> list[Pod]:
        """One process a node, as the operator's Job starts them; `only` those of some indexes."""
        port = free_port()
        training = config.training.model_copy(
            update={"rendezvous": RendezvousConfig(master_address="localhost", master_port=port)}
        )
        config = config.model_copy(update={"training": training})
        text = config.model_dump_json(by_alias=True)
        pods = [
            Pod.start(self.folder, text, index, config, faults, environment) for index in only or range(training.nodes)
        ]
        if wait:
            for pod in pods:
                pod.wait()
        return pods

    def manifest(self, config: PhaseConfig) -> Manifest | None:
        """What the phase of `config` committed, from whatever input."""
        folder = self.phase_folder(config)
        return read_pointed(folder.store, folder.place, Manifest)

    def stored(self, config: PhaseConfig, prefix: str = "") -> list[str]:
        """Keys of the phase's folder below `prefix`, relative to it."""
        folder = self.phase_folder(config)
        keys = [info.key for info in folder.store.list(f"{folder.place}/{prefix}")]
        return [key.removeprefix(f"{folder.place}/") for key in keys]

    def model(self, config: PhaseConfig, into: Path) -> Path:
        """The model that the phase of `config` committed, as a local folder."""
        manifest = self.manifest(config)
        assert manifest is not None
        return self.phase_folder(config).fetch(manifest, "model/", into)

    def _config(self, phase: Phase, iteration: int, attempt: int, name: str, training: dict[str, Any]) -> PhaseConfig:
        return PhaseConfig.model_validate(
            {
                "run": {"namespace": "default", "name": name, "uid": "u1"},
                "phase": phase,
                "iteration": iteration,
                "attempt": attempt,
                "iterations": 3,
                "seed": 7,
                "artifacts": {"uri": f"file://{self.folder}/store", "reuse": "None"},
                "committed": self._committed[name],
                "model": {"uri": "file:///base"},
                "data": {"uri": "file:///data", "portions": 1},
                "generation": {"temperature": 1.0, "topP": 1.0, "maxTokens": 16, "samplesPerPrompt": 2},
                "scoring": {"scorers": [{"name": "rule", "rules": [{"type": "Length"}]}]},
                "training": training,
            }
        )

    def _prompt(self, row: int) -> dict[str, Any]:
        return {
            "row": row,
            "prompt": [{"role": "user", "content": f"Question {row}?"}],
            "chosen": f"Thank you, {row}.",
            "rejected": f"No {row}",
            "columns": [],
        }


@dataclass
class Pod:
    """A process that runs `python -m selm_runtime training`, with its own logs and termination message."""

    process: subprocess.Popen[str]
    log: Path
    termination_log: Path

    @classmethod
    def start(
        cls, folder: Path, config: str, index: int, parsed: PhaseConfig, faults: str, environment: dict[str, str]
    ) -> Pod:
        name = f"{parsed.run.name}-{parsed.iteration}-{parsed.attempt}-{index}"
        log, words = folder / f"{name}.log", folder / f"{name}.termination"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "selm_runtime", "training"],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    ENV_PHASE_CONFIG: config,
                    ENV_COMPLETION_INDEX: str(index),
                    ENV_WRITER_ID: f"{name}-{free_port()}",
                    ENV_TERMINATION_LOG: str(words),
                    ENV_CACHE_DIR: str(folder / "cache"),
                    "TEST_FAULT": faults,
                    **environment,
                },
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return cls(process, log, words)

    def wait(self, timeout: float = 240.0) -> int:
        return self.process.wait(timeout)

    @property
    def said(self) -> dict[str, Any]:
        """The termination message."""
        result: dict[str, Any] = json.loads(self.termination_log.read_text())
        return result

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith('{"selm"')]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


__all__ = ["Pod", "TrainWorld", "make_tokenizer", "pair_record", "random_tokens", "training_settings"]
