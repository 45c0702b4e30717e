"""The working state of one look at a Job, and how it becomes the status that is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from selm_local.controllers.job_index_state import IndexState
from selm_local.controllers.job_indexes import format_indexes
from selm_local.controllers.job_pods import is_tracked
from selm_local.controllers.objects import Obj, condition_is, format_time, is_deleting, is_terminal, uid_of


@dataclass(frozen=True)
class JobEvent:
    """One event on the Job: type Normal or Warning."""

    type: str
    reason: str
    message: str


@dataclass
class Draft:
    """The working state of one pass."""

    job: Obj
    pods: list[Obj]
    now: datetime
    status: Obj
    active: list[Obj]
    indexes: IndexState | None = None
    finished: Obj | None = None
    events: list[JobEvent] = field(default_factory=list)
    requeue: timedelta | None = None

    def wait(self, delay: timedelta) -> None:
        self.requeue = delay if self.requeue is None else min(self.requeue, delay)


def settle_uncounted(draft: Draft) -> None:
    """Move into the counters what was noted as uncounted and has lost its finalizer since."""
    status = draft.status
    tracked = {uid_of(pod) for pod in draft.pods if is_tracked(pod)}
    uncounted = status.get("uncountedTerminatedPods") or {}
    kept: Obj = {}
    for key in ("succeeded", "failed"):
        uids = list(uncounted.get(key) or [])
        left = [uid for uid in uids if uid in tracked]
        if len(left) < len(uids):
            status[key] = int(status.get(key, 0)) + len(uids) - len(left)
        if left:
            kept[key] = left
    status["uncountedTerminatedPods"] = kept


def write_counts(draft: Draft, delete: list[Obj], create: list[Obj]) -> None:
    status = draft.status
    doomed = {uid_of(pod) for pod in delete}
    left = [pod for pod in draft.active if uid_of(pod) not in doomed]
    status["active"] = len(left) + len(create)
    status["ready"] = sum(1 for pod in left if condition_is(pod, "Ready"))
    terminating = sum(1 for pod in draft.pods if is_deleting(pod) and not is_terminal(pod))
    status["terminating"] = terminating + len(delete)
    if status["active"] == 0:
        del status["active"]
    if draft.indexes is not None:
        status["succeeded"] = len(draft.indexes.succeeded)
        status["completedIndexes"] = format_indexes(draft.indexes.succeeded)
        if not status["completedIndexes"]:
            del status["completedIndexes"]
        if draft.indexes.failed is not None:
            status["failedIndexes"] = format_indexes(draft.indexes.failed)
    for key in ("succeeded", "failed"):
        if not status.get(key):
            status.pop(key, None)


def conclude(draft: Draft) -> None:
    """Write the early condition at once, the terminal one when every pod is counted and gone."""
    if draft.finished is None:
        return
    early = draft.finished
    set_condition(draft, early["type"], "True", early["reason"], early["message"])
    if any(draft.status["uncountedTerminatedPods"].values()) or draft.status["terminating"] > 0:
        return
    final = "Complete" if early["type"] == "SuccessCriteriaMet" else "Failed"
    set_condition(draft, final, "True", early["reason"], early["message"])
    if final == "Complete":
        draft.status["completionTime"] = format_time(draft.now)
        draft.events.append(JobEvent("Normal", "Completed", "Job completed"))
    else:
        draft.events.append(JobEvent("Warning", early["reason"], early["message"]))
    draft.requeue = None


def make_condition(type_: str, reason: str, message: str, now: datetime) -> Obj:
    moment = format_time(now)
    return {
        "type": type_,
        "status": "True",
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def set_condition(draft: Draft, type_: str, status: str, reason: str, message: str) -> bool:
    """Add or change one condition in the status; False where it stood there already."""
    conditions: list[Obj] = draft.status.setdefault("conditions", [])
    new = {**make_condition(type_, reason, message, draft.now), "status": status}
    for position, old in enumerate(conditions):
        if old["type"] == type_:
            if (old["status"], old.get("reason"), old.get("message")) == (status, reason, message):
                return False
            conditions[position] = new
            return True
    conditions.append(new)
    return True
