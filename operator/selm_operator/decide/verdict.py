"""What a rule finds: one reason with its message, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selm_operator.decision import Action, Announcement


@dataclass(frozen=True)
class Verdict:
    """The reason names what is done or waited for; the message says it to a person.

    `succeeded` None leaves the run's outcome as it was told before.
    """

    reason: str
    message: str
    succeeded: Literal["True", "False", "Unknown"] | None = "Unknown"
    stalled: bool = False
    suspended: bool = False
    accepted: bool = True
    actions: tuple[Action, ...] = ()
    events: tuple[Announcement, ...] = ()
    requeue_after: float | None = None
