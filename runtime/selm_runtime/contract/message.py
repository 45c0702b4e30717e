"""What a pod says of itself, and the operator reads."""

from __future__ import annotations

from pydantic import Field

from selm_runtime.contract.base import ContractModel, Digest


class ShardProgress(ContractModel):
    """Chunks of the phase that are committed, by whichever pod, and how many there are."""

    done: int
    total: int


class PhaseError(ContractModel):
    """Why a pod ended; `reason` is CamelCase, `message` names the field, what was found, what is allowed."""

    reason: str
    message: str


class TerminationMessage(ContractModel):
    """What a pod says of itself: rewritten at every commit, so that a killed pod still says how far it came.

    At most `TERMINATION_MESSAGE_LIMIT` bytes as JSON. Written by the runtime, read by the operator.
    """

    manifest: Digest | None = None  # set once the whole phase is committed
    rows: int | None = None
    chunks: ShardProgress | None = None  # Generation and Scoring
    checkpoint_step: int | None = None  # Training: the newest committed checkpoint
    metrics: dict[str, float] = Field(default_factory=dict)  # at most 16
    best_iteration: int | None = None  # Evaluation
    model_uri: str | None = Field(default=None, alias="modelURI")  # Evaluation: the best model that retention leaves
    error: PhaseError | None = None
