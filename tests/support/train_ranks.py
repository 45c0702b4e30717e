"""Ranks as processes without pods: forked from a server that has imported the heavy libraries once a test session.

What a rank does is the product's own `worker.run_rank`; what a pod's entry does before and after is `launch`'s.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import psutil

from selm_runtime import faults
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import ENV_CACHE_DIR, ENV_PHASE_CONFIG, ENV_TERMINATION_LOG, ENV_WRITER_ID, PhaseConfig
from selm_runtime.phase import open_context
from selm_runtime.reporting import Reporter
from selm_runtime.train import launch
from selm_runtime.train.job import Outcome, TrainJob
from support.train_world import TrainWorld, free_port

TIMEOUT_SECONDS = 200.0
HUNG_FILE = "hung"
HELD_FILE = "held-bytes"


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: its ranks' exit codes (negative: by a signal) and words, and what was committed."""

    codes: list[int | None]
    outcomes: list[Outcome | None]
    manifest: Manifest | None
    seconds_after_hang: float | None = None
    """From rank 1's standstill to rank 0's end, where one was asked for."""
    held_bytes: tuple[int, ...] = ()
    """By rank: memory of the process after its last step, less what it held before its model."""

    @property
    def weights(self) -> str:
        """Digest of the committed model."""
        assert self.manifest is not None, self.outcomes
        return self.manifest.content_under("model/")


def train(
    world: TrainWorld,
    config: PhaseConfig,
    *,
    ranks: int = 2,
    fault: str = "",
    stop_after: int | None = None,
    stop_in_reference: bool = False,
    hang_after: int | None = None,
    kill_after: int | None = None,
    patched: Callable[[Path, int], None] | None = None,
    **environment: str,
) -> Ended:
    """One attempt of `ranks` ranks on one node. `stop_after`: SIGTERM's file is there once that step is done (0: at once).
    `stop_in_reference`: it is there when the reference pass begins.

    `fault` is a value of TEST_FAULT, which then holds for rank 1 alone. `hang_after`: rank 1 stands still (SIGSTOP) once
    that step is done; it is killed when rank 0 has ended. `kill_after`: rank 1 is killed then, whatever attempt it is.
    `patched`: called in each rank's process before it begins, with the world's folder and the rank.
    """
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"nodes": 1, "ranks_per_node": ranks})}
    )
    settings = {
        ENV_CACHE_DIR: str(world.folder / "cache"),
        ENV_WRITER_ID: f"w{free_port()}-{config.attempt}",
        ENV_PHASE_CONFIG: config.model_dump_json(by_alias=True),
        # The server of forks does not inherit sys.path in this Python: without it, its preload would find nothing.
        "PYTHONPATH": str(Path(__file__).parents[1]),
        ENV_TERMINATION_LOG: str(Path(tempfile.mkdtemp(dir=world.folder)) / "termination"),
        **environment,
    }
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.train_preload"])
    with (
        patch.dict(os.environ, settings),
        open_context(config, 0, Reporter(config.phase, config.iteration, 0)) as ctx,
    ):
        job, counts = launch.prepare(ctx)
        if stop_after == 0:
            job.stop_file.touch()
        processes = [
            context.Process(
                target=_rank,
                args=(
                    *(job, config, rank, ranks, settings, fault, stop_after, stop_in_reference, hang_after, kill_after),
                    *(patched, world.folder),
                ),
            )
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(0.0 if hang_after and process is not processes[0] else TIMEOUT_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        hung = job.scratch / HUNG_FILE
        waited = time.time() - hung.stat().st_mtime if hung.exists() else None
        outcomes = [launch.outcome_of(job, rank) for rank in range(ranks)]
        first = outcomes[0]
        done = first is not None and first.exit_code == 0
        manifest = launch.commit(ctx, job, first, counts) if done and first is not None else None
        held = tuple(int(path.read_text()) for path in sorted(job.scratch.glob(f"{HELD_FILE}-*")))
    return Ended([process.exitcode for process in processes], outcomes, manifest, waited, held)


def _rank(
    job: TrainJob,
    config: PhaseConfig,
    rank: int,
    ranks: int,
    settings: dict[str, str],
    fault: str,
    stop_after: int | None,
    stop_in_reference: bool,
    hang_after: int | None,
    kill_after: int | None,
    patched: Callable[[Path, int], None] | None,
    folder: Path,
) -> None:
    from selm_runtime.train import reference
    from selm_runtime.train.worker import run_rank

    os.environ.update(
        settings,
        OMP_NUM_THREADS="1",
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        LOCAL_WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(job.master_port),
        TEST_FAULT=fault if rank == 1 else "",
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reach = faults.reach
    process = psutil.Process()
    at_start = process.memory_info().rss

    def reach_or_stop(point: str, n: int = 1) -> None:
        if point == "step-done":
            (job.scratch / f"{HELD_FILE}-{rank}").write_text(str(process.memory_info().rss - at_start))
        if point == "step-done" and n == stop_after and rank == 0:
            job.stop_file.touch()
        if point == "step-done" and n == hang_after and rank == 1:
            (job.scratch / HUNG_FILE).touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        if point == "step-done" and n == kill_after and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        reach(point, n)

    faults.reach = reach_or_stop
    if stop_in_reference and rank == 0:
        _before(reference, "compute", job.stop_file.touch)
    if patched is not None:
        patched(folder, rank)
    run_rank(job, config, os.getppid())


def _before(module: ModuleType, name: str, effect: Callable[[], None]) -> None:
    """Let `effect` come before each call of a module's function."""
    function = getattr(module, name)

    def called(*args: Any, **options: Any) -> Any:
        effect()
        return function(*args, **options)

    setattr(module, name, called)
