"""What a pod's entry hands to the ranks that it starts, and what each of them leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from selm_runtime.contract import PhaseError

ENV_JOB = "SELM_TRAIN_JOB"
"""Path where the pod's entry puts the `TrainJob` as JSON once it is complete. Read by the agent."""

REFERENCE_FILE = "reference.parquet"
"""In the phase's manifest: the reference's summed log-probs by row, null where a response was not run."""
METRICS_FILE = "metrics.parquet"
"""In the phase's manifest: every optimizer step's metrics, but for rates, times and memory."""


class Stop(Protocol):
    """Whether this pod was asked to go."""

    @property
    def requested(self) -> bool: ...


class TrainJob(BaseModel):
    """Everything that was brought to this node before the ranks start; the phase config comes by its own variable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Path
    """Folder of the model to train, in Hugging Face layout."""
    reference: Path | None
    """Folder of the reference, or None where it is the policy's own weights."""
    pairs: Path
    """Parquet file of `pairs.PAIR_TOKENS`."""
    scratch: Path
    """Private folder of the pod; the exported model goes to `model` below it."""
    input_digest: str
    writer: str
    index: int
    """The completion index: the node's rank."""
    master_address: str
    master_port: int
    peers_seconds: int
    """How long the nodes wait for each other."""

    @property
    def model(self) -> Path:
        return self.scratch / "model"

    @property
    def tables(self) -> Path:
        """What rank 0 leaves beside the model for the phase's manifest; a pure function of the phase's input."""
        return self.scratch / "tables"

    @property
    def stop_file(self) -> Path:
        """Made by the entry once the pod is asked to go: reaches ranks that are still importing, too."""
        return self.scratch / "stop"

    @property
    def started_file(self) -> Path:
        """Made by the node's ranks when they start: every node of the attempt is there then."""
        return self.scratch / "started"

    def outcome_file(self, local_rank: int) -> Path:
        return self.scratch / f"outcome-{local_rank}.json"


class Outcome(BaseModel):
    """How a rank ended. A rank that was killed leaves none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exit_code: int
    error: PhaseError | None = None
    metrics: dict[str, float] = {}
    """A pure function of the phase's input: for the manifest."""
    rates: dict[str, float] = {}
    """Of this attempt: tokens and pairs a second, utilization, memory. For the termination message alone."""
    facts: dict[str, int] = {}
