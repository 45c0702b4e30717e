"""One pass over one run: observe, decide, execute, one status write, then its events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from selm_operator.api.status import SELMRunStatus
from selm_operator.constants import ConditionType
from selm_operator.decide import decide
from selm_operator.decision import CreateJob, Decision
from selm_operator.events import EventRecorder
from selm_operator.execute import ControlRefused, EffectRefused, Executor, JobNameTaken
from selm_operator.jobs import Jobs, ListedJobs
from selm_operator.jobs_watch import RunKey
from selm_operator.kube import RUNS, Api, ApiError, Json
from selm_operator.ledger import condition_of
from selm_operator.logs import add_log_fields, log_context
from selm_operator.metrics import (
    API_WRITES,
    NEXT_JOB_SECONDS,
    RECONCILE_ERRORS,
    RECONCILE_SECONDS,
    RUNS_BY_PHASE,
    STATUS_CONFLICTS,
    count_settled,
    forget,
)
from selm_operator.observe import observe
from selm_operator.queue import Again, Gone, Look
from selm_operator.settings import Settings
from selm_operator.snapshot import ControlView, Obstacle, Snapshot

log = logging.getLogger(__name__)

LEVELS = {"Normal": logging.INFO, "Warning": logging.WARNING}


class StatusPruned(Exception):
    """The CRD in the cluster is older than this operator: what it does not know, the API server drops, and a pass that
    relies on it would be repeated for ever."""

    def __init__(self, lost: list[str]) -> None:
        fields = ", ".join(lost[:5])
        super().__init__(f"the API server dropped {fields}: apply the CRD of this operator's version")


class Reconciler:
    """Does a pass when the queue asks for one. Holds nothing between two passes."""

    def __init__(
        self,
        api: Api,
        settings: Settings,
        recorder: EventRecorder,
        *,
        leading: Callable[[], bool] = lambda: True,
        clock: Callable[[], datetime] | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self.api, self.settings, self.recorder, self.clock = api, settings, recorder, clock
        self.leading = leading
        self.jobs = jobs or ListedJobs(api)
        self.executor = Executor(api, leading, self.jobs)

    async def __call__(self, key: RunKey) -> Look:
        begun = time.perf_counter()
        try:
            with log_context(namespace=key[0], run=key[1]):
                look = await self.reconcile(*key)
        except Exception as error:
            RECONCILE_ERRORS.labels(type(error).__name__).inc()
            raise
        finally:
            RECONCILE_SECONDS.observe(time.perf_counter() - begun)
        if isinstance(look, Gone):
            forget(key)
        return look

    async def reconcile(self, namespace: str, name: str) -> Look:
        """Raises what observing, executing and writing raise; whatever was done until then, the next pass finds."""
        seen = await observe(self.api, self.jobs, namespace, name, self.settings, self._now())
        if seen is None:
            return Gone()
        obj, snapshot = seen
        if snapshot.run.deleting:
            return Gone()
        add_log_fields(**place_of(snapshot.run.status))
        decision = decide(snapshot)
        add_log_fields(**place_of(decision.status))
        try:
            await self.executor.execute(namespace, decision.actions)
        except JobNameTaken as taken:
            decision = self._decide_again(snapshot, "JobNameTaken", taken_message(taken.job))
        except ControlRefused as control:
            # What else was to be done is done: only what is told of the control run differs.
            decision = decide(replace(snapshot, control=ControlView(refused=control.error.message)))
        except EffectRefused as refused:
            decision = self._decide_again(
                snapshot, "EffectRefused", f"{refused.what} was refused: {refused.error.message}"
            )
        if not await self._write_status(obj, snapshot.run.status, decision.status):
            return Again(0.0)
        self._tell(snapshot, decision)
        await self.recorder.announce(obj, decision.events)
        return Again(decision.requeue_after)

    def _tell(self, snapshot: Snapshot, decision: Decision) -> None:
        """Counts and logs what the written status says; the log has every event, also those that cannot be posted."""
        key = (snapshot.run.namespace, snapshot.run.name)
        for settled in decision.settled:
            count_settled(key, settled)
        delay = next_job_delay(snapshot, decision)
        if delay is not None:
            NEXT_JOB_SECONDS.observe(delay)
        current, outcome = decision.status.current, condition_of(decision.status, ConditionType.SUCCEEDED)
        RUNS_BY_PHASE.note(key, (current.phase if current else None) or "", outcome.reason if outcome else "")
        for event in decision.events:
            log.log(LEVELS[event.type], "%s: %s", event.reason, event.note)

    def _now(self) -> datetime | None:
        return self.clock() if self.clock else None

    def _decide_again(self, snapshot: Snapshot, kind: str, message: str) -> Decision:
        decision = decide(replace(snapshot, obstacle=Obstacle(kind, message)))
        assert not decision.actions
        return decision

    async def _write_status(self, obj: Json, before: SELMRunStatus, after: SELMRunStatus) -> bool:
        """One PUT of the status with the version that was observed; False where the run has changed since.

        That version is what fences a leader that woke late: whatever it decided, it decided of an older run. Raises
        StatusPruned where the API server did not keep all of it.
        """
        if after == before:
            return True
        API_WRITES.labels("SELMRun").inc()
        written = {**obj, "status": after.model_dump(mode="json", by_alias=True, exclude_none=True)}
        try:
            answer = await self.api.replace(RUNS, obj["metadata"]["namespace"], written, subresource="status")
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            STATUS_CONFLICTS.inc()
            log.info("the status of %s was written by another: observing again", obj["metadata"]["name"])
            return False
        if lost := lost_fields(written["status"], answer.get("status") or {}):
            raise StatusPruned(lost)
        return True


def lost_fields(written: Any, kept: Any, path: str = "status") -> list[str]:
    """Paths of fields that were written and are not in what the API server kept."""
    if isinstance(written, dict) and isinstance(kept, dict):
        return [
            lost
            for name, value in written.items()
            for lost in (lost_fields(value, kept[name], f"{path}.{name}") if name in kept else [f"{path}.{name}"])
        ]
    if isinstance(written, list) and isinstance(kept, list):
        pairs = enumerate(zip(written, kept, strict=False))
        return [lost for index, (one, other) in pairs for lost in lost_fields(one, other, f"{path}[{index}]")]
    return []


def taken_message(job: dict[str, Any]) -> str:
    """Why a Job's name is taken, for a person."""
    name, deleted = job["metadata"]["name"], job["metadata"].get("deletionTimestamp")
    if deleted:
        return f"Job {name} is being deleted since {deleted}; the next attempt needs its name"
    owners = ", ".join(f"{o['kind']} {o['name']} ({o['uid']})" for o in job["metadata"].get("ownerReferences") or ())
    return f"Job {name} belongs to {owners or 'nobody'}; it must be gone before the next attempt can start"


def place_of(status: SELMRunStatus) -> dict[str, Any]:
    """Where a run is, as fields of the log."""
    current = status.current
    if current is None:
        return {}
    return {
        "iteration": current.iteration,
        "phase": current.phase,
        "attempt": current.attempt,
        "job": current.job_name,
    }


def next_job_delay(snapshot: Snapshot, decision: Decision) -> float | None:
    """Seconds from the end of the phase before to the Job that this pass made; None where it made none, or where the
    attempt is not its phase's first: then there was something to wait for."""
    made = any(isinstance(action, CreateJob) for action in decision.actions)
    ends = [job.ended for job in snapshot.jobs if job.complete is not None and job.ended is not None]
    current = decision.status.current
    if not made or not ends or current is None or current.attempt != 1 or current.failure is not None:
        return None
    return max(0.0, (snapshot.now - max(ends)).total_seconds())
