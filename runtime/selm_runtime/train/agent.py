"""torchrun's agent for one node, a child process of the pod's entry (see `__main__`).

It imports the heavy libraries once, while the entry still fetches the inputs, and forks its ranks when these are there.
The same launcher that the `torchrun` command calls, so that its errors keep their types: a rendezvous that failed is a
lost peer. Exit codes are the contract's, and 1 where a rank of this node crashed or was killed.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from selm_runtime.contract import ENV_PHASE_CONFIG, ExitCode, PhaseConfig
from selm_runtime.train.engine import prepare_deepspeed
from selm_runtime.train.job import ENV_JOB, TrainJob
from selm_runtime.train.worker import run_rank

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 10
"""From one rank's end in failure to the kill of those of its node that do not notice."""
POLL_SECONDS = 0.05
RANK_FAILED = 1
WORST_FIRST = (ExitCode.INVALID_INPUT, ExitCode.TEMPORARY, ExitCode.PEER_LOST)


def launch_config(job: TrainJob, config: PhaseConfig) -> LaunchConfig:
    """Static rendezvous: the node rank is the completion index, the master is pod 0, nobody is restarted here."""
    training = config.training
    return LaunchConfig(
        min_nodes=training.nodes,
        max_nodes=training.nodes,
        nproc_per_node=training.ranks_per_node,
        run_id=f"{config.run.uid}-{config.iteration}-{config.attempt}",
        rdzv_backend="static",
        rdzv_endpoint=f"{job.master_address}:{job.master_port}",
        rdzv_configs={"rank": job.index, "timeout": job.peers_seconds},
        max_restarts=0,
        # The entry tells ranks by a file that they are to stop: torchrun's own way kills them after 30 s.
        signals_to_handle="SIGUSR2",
        start_method="fork",
        shutdown_timeout=SHUTDOWN_SECONDS,
    )


def exit_code_of(codes: Sequence[int]) -> int:
    """What the node's failed ranks amount to; `codes` are those that torchrun saw fail first (negative: by a signal).

    A rank that crashed or was killed goes before all, since that may be a fault of the work and is counted. A lost
    peer goes last: it only says that some other rank failed.
    """
    if any(code not in WORST_FIRST for code in codes):
        return RANK_FAILED
    return next(int(code) for code in WORST_FIRST if code in codes)


def await_job(file: Path) -> TrainJob:
    """The job once the entry has written it; an entry that fails ends this process instead."""
    while not file.exists():
        time.sleep(POLL_SECONDS)
    return TrainJob.model_validate_json(file.read_text())


def main() -> int:
    """Run this node's ranks to their end."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    prepare_deepspeed()
    job = await_job(Path(os.environ[ENV_JOB]))
    config = PhaseConfig.model_validate_json(os.environ[ENV_PHASE_CONFIG])
    try:
        elastic_launch(launch_config(job, config), run_rank)(job, config, os.getpid())
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        log.error("ranks of this node ended with %s", codes)
        return exit_code_of(codes)
    except (RendezvousError, dist.DistError) as error:
        log.error("no rendezvous: %s", error)
        return ExitCode.PEER_LOST
    return ExitCode.DONE
