"""The life of a phase's process: context, SIGTERM, exit codes, last words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selm_runtime.artifacts.cache import ModelCache
from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.store import Store
from selm_runtime.contract import PhaseConfig
from selm_runtime.errors import TemporaryFailure
from selm_runtime.reporting import Reporter


class StopFlag:
    """Set once the pod was asked to go; phases look at it between units of work."""

    def __init__(self) -> None:
        self._requested = False

    @property
    def requested(self) -> bool:
        """True after SIGTERM."""
        return self._requested

    def request(self) -> None:
        self._requested = True

    def check(self) -> None:
        """Raise TemporaryFailure (`Preempted`) once the pod was asked to go: call it between units of work."""
        if self._requested:
            raise TemporaryFailure("Preempted", "the pod was asked to end; what is committed is kept")


@dataclass(frozen=True)
class PhaseContext:
    """What a phase's `run(ctx)` is given."""

    config: PhaseConfig
    store: Store
    folder: PhaseFolder
    index: int
    """The completion index: the shard, or the node rank in Training."""
    scratch: Path
    """A private folder, removed when the process ends."""
    cache: ModelCache
    reporter: Reporter
    stop: StopFlag
