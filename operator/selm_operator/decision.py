"""What `decide` answers: effects as data, the status to write, the events of transitions, when to look again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from selm_operator.api.status import SELMRunStatus

Json = dict[str, Any]


@dataclass(frozen=True)
class CreateJob:
    """POST one phase's Job. A name that is taken is answered by who holds it, never by an overwrite."""

    manifest: Json


@dataclass(frozen=True)
class DeleteJob:
    """Delete one Job in the foreground, if it is still the one with this uid."""

    name: str
    uid: str


@dataclass(frozen=True)
class ApplyService:
    """Server-side apply of the run's headless Service."""

    manifest: Json


@dataclass(frozen=True)
class DeleteService:
    """Delete the run's Service, if it is still the one with this uid."""

    name: str
    uid: str


@dataclass(frozen=True)
class CreateRun:
    """POST the control run. One that is there already is found by the next pass, whoever made it."""

    manifest: Json


Action = CreateJob | CreateRun | DeleteJob | ApplyService | DeleteService


@dataclass(frozen=True)
class Announcement:
    """An event about the run, emitted only once the status that it belongs to is written.

    `key` tells one transition from another of the same reason, so that a repeated announcement is the same event.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    key: str = ""


@dataclass(frozen=True)
class Settled:
    """An attempt whose end this pass enters in the book: what the metrics count once the book is written."""

    phase: str
    reason: str | None
    """How it ended, CamelCase: a `decide.endings.Kind`, or `Suspended`; None while it is being stopped, when only its GPU
    seconds are known."""
    outcome: Literal["Committed", "Kept", "Wasted"]
    """Whether it committed the phase, committed a part that the next attempt goes on from, or neither."""
    gpu_seconds: float = 0.0
    phase_seconds: float | None = None
    """From the phase's first Job to its commit; None where it is not committed."""


@dataclass(frozen=True)
class Decision:
    """Effects in their order, then one status write. `requeue_after` is in seconds; None leaves it to events and resync."""

    status: SELMRunStatus
    actions: tuple[Action, ...] = ()
    events: tuple[Announcement, ...] = ()
    requeue_after: float | None = None
    settled: tuple[Settled, ...] = ()
