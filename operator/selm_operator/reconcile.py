"""One pass over one run: observe, decide, execute, one status write, then its events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from selm_operator.api.status import SELMRunStatus
from selm_operator.decide import decide
from selm_operator.decision import Decision
from selm_operator.events import EventRecorder
from selm_operator.execute import EffectRefused, Executor, JobNameTaken
from selm_operator.jobs_watch import RunKey
from selm_operator.kube import RUNS, Api, ApiError, Json
from selm_operator.metrics import (
    API_WRITES,
    ATTEMPTS_FAILED,
    GPU_SECONDS,
    PHASE_SECONDS,
    RECONCILE_ERRORS,
    RECONCILE_SECONDS,
    STATUS_CONFLICTS,
)
from selm_operator.observe import observe
from selm_operator.queue import Again, Gone, Look
from selm_operator.settings import Settings
from selm_operator.snapshot import Obstacle, Snapshot

log = logging.getLogger(__name__)


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
    ) -> None:
        self.api, self.settings, self.recorder, self.clock = api, settings, recorder, clock
        self.leading = leading
        self.executor = Executor(api, leading)

    async def __call__(self, key: RunKey) -> Look:
        begun = time.perf_counter()
        try:
            return await self.reconcile(*key)
        except Exception as error:
            RECONCILE_ERRORS.labels(type(error).__name__).inc()
            raise
        finally:
            RECONCILE_SECONDS.observe(time.perf_counter() - begun)

    async def reconcile(self, namespace: str, name: str) -> Look:
        """Raises what observing, executing and writing raise; whatever was done until then, the next pass finds."""
        seen = await observe(self.api, namespace, name, self.settings, self.clock() if self.clock else None)
        if seen is None:
            return Gone()
        obj, snapshot = seen
        if snapshot.run.deleting:
            return Gone()
        decision = decide(snapshot)
        try:
            await self.executor.execute(namespace, decision.actions)
        except JobNameTaken as taken:
            decision = self._decide_again(snapshot, "JobNameTaken", taken_message(taken.job))
        except EffectRefused as refused:
            decision = self._decide_again(
                snapshot, "EffectRefused", f"{refused.what} was refused: {refused.error.message}"
            )
        if not await self._write_status(obj, snapshot.run.status, decision.status):
            return Again(0.0)
        await self.recorder.announce(obj, decision.events)
        return Again(decision.requeue_after)

    def _decide_again(self, snapshot: Snapshot, kind: str, message: str) -> Decision:
        decision = decide(replace(snapshot, obstacle=Obstacle(kind, message)))
        assert not decision.actions
        return decision

    async def _write_status(self, obj: Json, before: SELMRunStatus, after: SELMRunStatus) -> bool:
        """One PUT of the status with the version that was observed; False where the run has changed since.

        That version is what fences a leader that woke late: whatever it decided, it decided of an older run.
        """
        if after == before:
            return True
        API_WRITES.labels("SELMRun").inc()
        written = {**obj, "status": after.model_dump(mode="json", by_alias=True, exclude_none=True)}
        try:
            await self.api.replace(RUNS, obj["metadata"]["namespace"], written, subresource="status")
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            STATUS_CONFLICTS.inc()
            log.info("the status of %s was written by another: observing again", obj["metadata"]["name"])
            return False
        _count(before, after)
        return True


def taken_message(job: dict[str, Any]) -> str:
    """Why a Job's name is taken, for a person."""
    name, deleted = job["metadata"]["name"], job["metadata"].get("deletionTimestamp")
    if deleted:
        return f"Job {name} is being deleted since {deleted}; the next attempt needs its name"
    owners = ", ".join(f"{o['kind']} {o['name']} ({o['uid']})" for o in job["metadata"].get("ownerReferences") or ())
    return f"Job {name} belongs to {owners or 'nobody'}; it must be gone before the next attempt can start"


def _count(before: SELMRunStatus, after: SELMRunStatus) -> None:
    """Metrics of what this write entered in the book: once, for a lost write is not counted."""
    was = {(i.iteration, p.phase): p for i in before.iterations or () for p in i.phases or ()}
    for iteration in after.iterations or ():
        for phase in iteration.phases or ():
            old = was.get((iteration.iteration, phase.phase))
            committed = phase.state == "Succeeded" and (old is None or old.state != "Succeeded")
            if committed and phase.start_time and phase.completion_time:
                PHASE_SECONDS.labels(phase.phase).observe((phase.completion_time - phase.start_time).total_seconds())
            spent = (phase.gpu_seconds or 0.0) - ((old.gpu_seconds if old else None) or 0.0)
            if spent > 0:
                GPU_SECONDS.labels(phase.phase, "committed" if committed else "wasted").inc(spent)
    failure, old_failure = (s.current.failure if s.current else None for s in (after, before))
    if failure is not None and after.current is not None and failure != old_failure and failure.exit_code is not None:
        ATTEMPTS_FAILED.labels(after.current.phase, str(failure.exit_code)).inc()
