"""What a rank has around it while it trains, beside its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.contract import PhaseConfig
from selm_runtime.errors import TemporaryFailure
from selm_runtime.reporting import Reporter
from selm_runtime.train import model, quantized
from selm_runtime.train.engine import dtype_of
from selm_runtime.train.job import Stop, TrainJob
from selm_runtime.train.partition import Cutter
from selm_runtime.train.ranks import Ranks


@dataclass(frozen=True)
class Surroundings:
    """What training needs besides its inputs; the same on every rank but for the rank itself."""

    job: TrainJob
    config: PhaseConfig
    folder: PhaseFolder
    ranks: Ranks
    reporter: Reporter
    stop: Stop

    def load(self, folder: Path) -> model.ResponseLogProbs:
        """Policy or reference, in the number format of the training; under ZeRO-3 this rank's parts of it."""
        training = self.config.training
        dtype = dtype_of(training)
        cutter = Cutter(training, self.ranks.device) if training.zero_stage == 3 else None
        with cutter.arriving() if cutter else nullcontext():
            loaded = model.load(
                folder,
                dtype=dtype,
                max_length=training.max_length,
                trust_remote_code=self.config.model.trust_remote_code,
                options=quantized.loading_options(training.lora, dtype, self.ranks.device),
            )
        if cutter:
            cutter.cut(loaded.parameters())
        return loaded

    def heed_stop(self, while_: str) -> None:
        """Raise TemporaryFailure on every rank once one was asked to go: where there is nothing new to save."""
        if self.ranks.most([self.stop.requested])[0]:
            raise TemporaryFailure("Preempted", f"the pod was asked to end while {while_}; what is committed is kept")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report on rank 0 how many seconds a stage took."""
        with self.reporter.stage(name) if self.ranks.is_first else nullcontext():
            yield
