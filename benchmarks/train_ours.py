"""This project's trainer as a contender: the product's own `train`, as one rank that is alone in its world.

What a pod's entry does before (models and pairs brought to the node) and after (the commit of the phase) is left out, as
loading and saving are for the others. All else is in the clock: reference pass, its commit, optimizer steps with
metrics, guards, event files and the probe of packed attention. The most memory is read where the export begins.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.store import open_store
from selm_runtime.contract import PhaseConfig
from selm_runtime.reporting import Reporter
from selm_runtime.train import model, ranks
from selm_runtime.train.engine import dtype_of
from selm_runtime.train.job import METRICS_FILE, TrainJob
from selm_runtime.train.loop import train
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair, write_pairs
from selm_runtime.train.surroundings import Surroundings
from selm_runtime.train.worker import make_deterministic
from train_world import MAX_LENGTH, MAX_PROMPT_LENGTH, BenchPair, Measured, Settings, now, peak_bytes, read_pairs


class Clock(Reporter):
    """Reads the stages that training reports: the reference pass, and what lies between the engine and the export."""

    def __init__(self, config: PhaseConfig, measured: Measured) -> None:
        super().__init__(config.phase, config.iteration, 0, stream=sys.stderr)
        self._measured = measured

    @contextmanager
    def stage(self, name: str, **facts: Any) -> Iterator[dict[str, Any]]:
        measured = self._measured
        if name == "export":  # the others save nothing
            measured.add("step", *self._ready)
            measured.step_seconds -= measured.reference_seconds
            measured.step_cpu_seconds -= measured.reference_cpu_seconds
            measured.peak_bytes = peak_bytes()
        began = now()
        with super().stage(name, **facts) as found:
            yield found
        if name == "reference":
            measured.add("reference", *began)
        elif name == "initialize":
            self._ready = now()
        elif name == "compile":
            measured.notes += f"compiled in {now()[0] - began[0]:.0f} s, "


class Never:
    """Nobody asks a benchmark to go."""

    requested = False


def run(work: Path, settings: Settings, *, alpha: float, name: str) -> Measured:
    """One epoch over the pairs; the reference pass is inside the clock."""
    scratch = Path(tempfile.mkdtemp(dir=work))  # with a store of its own: no other run's checkpoint is there
    config = phase_config(work, settings, alpha, scratch / "store")
    found = read_pairs(work)
    measured = Measured(name, len(found))
    write_pairs(numbered(found, explored=alpha != 0.0).values(), scratch / "pairs.parquet")
    job = TrainJob(
        policy=work / "model",
        reference=None,
        pairs=scratch / "pairs.parquet",
        scratch=scratch,
        input_digest="sha256:" + "1" * 64,
        writer=scratch.name,
        index=0,
        master_address="127.0.0.1",
        master_port=0,
        peers_seconds=600,
    )
    reporter = Clock(config, measured)
    folder = PhaseFolder(
        open_store(config.artifacts), config, input_digest=job.input_digest, writer=job.writer, reporter=reporter
    )
    make_deterministic()
    here = Surroundings(job, config, folder, join_alone(), reporter, Never())
    warm_up(here, found[0])
    outcome = train(here)
    measured.losses = pq.read_table(job.tables / METRICS_FILE).column("loss").to_pylist()
    training = config.training
    measured.notes += (
        f"ZeRO-{training.zero_stage}, micro-batches of up to {training.max_tokens_per_micro_batch} tokens, "
        f"{outcome.facts['steps']} steps"
    )
    dist.destroy_process_group()
    return measured


def warm_up(here: Surroundings, first: BenchPair) -> None:
    """One forward and backward pass of another copy of the model: libraries make what they make once."""
    copy = model.load(here.job.policy, dtype=dtype_of(here.config.training), max_length=MAX_LENGTH)
    copy.to(here.ranks.device)
    pairs = numbered([first], explored=False)
    copy(pack(list(pairs.values()), explored=False).to(here.ranks.device)).sum().backward()
    del copy
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def phase_config(work: Path, settings: Settings, alpha: float, store: Path) -> PhaseConfig:
    """The product's config of a Training phase with the settings that all contenders share; the rest are defaults."""
    return PhaseConfig.model_validate(
        {
            "run": {"namespace": "bench", "name": "bench", "uid": "0001"},
            "phase": "Training",
            "iteration": 1,
            "attempt": 1,
            "iterations": 1,
            "seed": settings.seed,
            "artifacts": {"uri": store.as_uri()},
            "model": {"uri": (work / "model").as_uri()},
            "data": {"uri": (work / "data").as_uri(), "portions": 1},
            "generation": {"temperature": 1.0, "topP": 1.0, "maxTokens": 1, "samplesPerPrompt": 1},
            "scoring": {"scorers": [{"name": "length", "rules": [{"type": "Length", "target": 1}]}]},
            "training": {
                "objective": {"type": "SELM", "alpha": alpha, "beta": settings.beta},
                "learningRate": settings.learning_rate,
                "lrScheduler": "Constant",
                "warmupRatio": 0.0,
                "maxGradNorm": settings.max_grad_norm,
                "precision": "BFloat16" if settings.bf16 else "Float32",
                "batchSize": settings.batch_size,
                "maxTokensPerMicroBatch": settings.max_tokens_per_micro_batch,
                "maxLength": MAX_LENGTH,
                "maxPromptLength": MAX_PROMPT_LENGTH,
                "zeroStage": settings.zero_stage,
                "compile": settings.compile,
            },
        }
    )


def numbered(pairs: Sequence[BenchPair], *, explored: bool) -> dict[int, Pair]:
    """By row, as the pairs' file has them."""
    return {
        row: Pair(
            row,
            tuple(pair.prompt),
            tuple(pair.chosen),
            tuple(pair.rejected),
            (tuple(pair.explored),) if explored else (),
        )
        for row, pair in enumerate(pairs)
    }


def join_alone() -> ranks.Ranks:
    """A process group of one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
    }
    return ranks.join()
