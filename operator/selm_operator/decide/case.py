"""A snapshot with what follows from it at a glance; what the rules look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import Current, SELMRunStatus
from selm_operator.constants import ConditionType
from selm_operator.decision import Announcement, Settled
from selm_operator.ledger import Position, condition_of, is_committed, order_of, position_of
from selm_operator.settings import Waits
from selm_operator.snapshot import JobView, PodView, Snapshot


@dataclass(frozen=True)
class Case:
    """The snapshot, the status as far as this pass has kept the book, and the events that go with it."""

    snapshot: Snapshot
    status: SELMRunStatus
    events: tuple[Announcement, ...] = ()
    settled: tuple[Settled, ...] = ()
    booked: bool = False
    """Something was entered in the book: it is written before any effect follows from it."""

    def book(self, status: SELMRunStatus, *events: Announcement) -> Case:
        return replace(self, status=status, events=(*self.events, *events), booked=True)

    def settle(self, settled: Settled) -> Case:
        return replace(self, settled=(*self.settled, settled))

    @property
    def spec(self) -> SELMRunSpec:
        """The spec; rules that run before it is known to parse must not ask."""
        spec = self.snapshot.run.spec
        assert spec is not None
        return spec

    @property
    def now(self) -> datetime:
        return self.snapshot.now

    @property
    def waits(self) -> Waits:
        return self.snapshot.settings.waits

    @property
    def current(self) -> Current | None:
        return self.status.current

    @property
    def position(self) -> Position | None:
        return position_of(self.status.current)

    @cached_property
    def here(self) -> tuple[JobView, ...]:
        """Jobs of the current phase."""
        position = self.position
        if position is None:
            return ()
        return tuple(job for job in self.snapshot.jobs if job.position == order_of(position))

    @cached_property
    def attempt(self) -> int:
        """The highest attempt of the current phase that the status or a Job knows of; 0: none was made."""
        known = (self.current.attempt or 0) if self.current else 0
        return max([known, *(job.attempt for job in self.here)])

    @cached_property
    def job(self) -> JobView | None:
        """The Job of that attempt, whoever's status write got lost: it is found by its labels, not by the status."""
        return next((job for job in self.here if job.attempt == self.attempt), None)

    @property
    def orphans(self) -> tuple[PodView, ...]:
        """Pods that still run though the Job of the last attempt is gone: a deletion by hand takes the Job first."""
        name = self.current.job_name if self.current else None
        if name is None or self.job is not None or self.accounted or self.snapshot.pods_of != name:
            return ()
        return tuple(pod for pod in self.snapshot.pods if pod.runs(self.now, self.waits.deletion_margin))

    @property
    def accounted(self) -> bool:
        """Whether the last attempt's end is in the book."""
        failure = self.current.failure if self.current else None
        return self.attempt == 0 or (failure is not None and (failure.attempt or 0) >= self.attempt)

    @property
    def committed(self) -> bool:
        """Whether the current phase is."""
        return self.position is not None and is_committed(self.status, self.position)

    def is_active(self, job: JobView) -> bool:
        return job.active(self.now, self.waits.deletion_margin)

    def is_abandoned(self, job: JobView) -> bool:
        return job.abandoned(self.now, self.waits.deletion_margin)

    def has_failed(self, job: JobView) -> bool:
        return job.has_failed(self.now, self.waits.deletion_margin)

    def pods_of(self, job: JobView) -> tuple[PodView, ...]:
        """The Job's pods, where they were read."""
        return self.snapshot.pods if self.snapshot.pods_of == job.name else ()

    @property
    def was_suspended(self) -> bool:
        """Whether the last pass found the run suspended and at rest."""
        told = condition_of(self.snapshot.run.status, ConditionType.SUSPENDED)
        return told is not None and told.status == "True"
