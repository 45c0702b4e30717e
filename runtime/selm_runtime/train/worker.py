"""One rank's process, forked by torchrun's agent."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
import transformers

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.store import open_store
from selm_runtime.contract import PhaseConfig, PhaseError
from selm_runtime.errors import PhaseFailure
from selm_runtime.reporting import Reporter
from selm_runtime.train import ranks
from selm_runtime.train.job import Outcome, TrainJob
from selm_runtime.train.loop import train
from selm_runtime.train.processes import die_with_parent
from selm_runtime.train.surroundings import Surroundings

log = logging.getLogger(__name__)


class StopRequest:
    """Set by SIGTERM, or by the file that the pod's entry makes when it gets one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._signalled = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    @property
    def requested(self) -> bool:
        return self._signalled or self._file.exists()


def run_rank(job: TrainJob, config: PhaseConfig, agent: int) -> None:
    """Train as the rank that torchrun's environment names; leave an `Outcome` behind whatever happens but a kill.

    Ends the process with the outcome's exit code where that is not 0, and with its parent, process `agent`.
    """
    die_with_parent(agent)
    job.started_file.touch()
    _quiet_libraries()
    try:
        with ranks.loss_of_peers():
            outcome = _run(job, config)
    except PhaseFailure as failure:
        log.warning("%s", failure)
        error = PhaseError(reason=failure.reason, message=failure.message)
        outcome = Outcome(exit_code=failure.exit_code, error=error)
    except Exception as crash:
        log.exception("rank failed")
        error = PhaseError(reason="Crashed", message=f"{type(crash).__name__}: {crash}")
        outcome = Outcome(exit_code=1, error=error)
    job.outcome_file(int(os.environ["LOCAL_RANK"])).write_text(outcome.model_dump_json())
    if outcome.exit_code:
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads of the communication library may wait for a peer that is gone for as long as their time-out.
        os._exit(outcome.exit_code)


def _run(job: TrainJob, config: PhaseConfig) -> Outcome:
    stop = StopRequest(job.stop_file)
    reporter = Reporter.from_environment(config.phase, config.iteration, job.index)
    store = open_store(config.artifacts)
    folder = PhaseFolder(store, config, input_digest=job.input_digest, writer=job.writer, reporter=reporter)
    make_deterministic()
    here = Surroundings(job, config, folder, ranks.join(), reporter, stop)
    outcome = train(here)
    dist.destroy_process_group()
    return outcome


def make_deterministic() -> None:
    """The same weights from the same seed and world: only GPUs have kernels that would differ from run to run."""
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def _quiet_libraries() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # DeepSpeed calls collectives by names that torch is about to change.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
