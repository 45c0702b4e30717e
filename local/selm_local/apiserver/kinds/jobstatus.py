"""What may be written to a Job's status: a state that clients can rely on never turns back. Pure.

Rules look at fields that the write changes, so that an old mistake does not block the next write.
Source: kubernetes/pkg/registry/batch/job/strategy.go and pkg/apis/batch/validation (ValidateJobUpdateStatus).
"""

from __future__ import annotations

import datetime as dt

from selm_local.apiserver.kinds.builtin import at_least
from selm_local.apiserver.kinds.jobpolicies import count_indexes
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_CONDITIONS, _START, _END = "status.conditions", "status.startTime", "status.completionTime"


def _holds(status: Object, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or [])


def _finished(status: Object) -> bool:
    return _holds(status, "Complete") or _holds(status, "Failed")


def validate_status(job: Object, old_job: Object) -> list[FieldError]:
    """Reasons to refuse `job`, whose status is new, in place of `old_job`."""
    spec, new, old = job["spec"], job.get("status") or {}, old_job.get("status") or {}
    found = [e for name in _COUNTS for e in at_least(f"status.{name}", new.get(name), 0)]
    found += _counters(spec, new, old) + _indexes(spec, new, old)
    found += _conditions(new, old) + _ended(spec, new, old) + _times(spec, new, old)
    return found


def _changed(new: Object, old: Object, *names: str) -> bool:
    return any(new.get(name) != old.get(name) for name in names)


def _turned(new: Object, old: Object, *kinds: str) -> bool:
    return any(_holds(new, kind) != _holds(old, kind) for kind in kinds)


def _counters(spec: Object, new: Object, old: Object) -> list[FieldError]:
    found: list[FieldError] = []
    elastic = spec["completionMode"] == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for name in ("failed",) if elastic else ("succeeded", "failed"):
        if (new.get(name) or 0) < (old.get(name) or 0):
            found.append(field.invalid(f"status.{name}", new.get(name) or 0, f"cannot decrease the {name} counter"))
    if _changed(new, old, "ready", "active") and (new.get("ready") or 0) > (new.get("active") or 0):
        found.append(field.invalid("status.ready", new["ready"], "cannot set more ready pods than active"))
    return found


def _indexes(spec: Object, new: Object, old: Object) -> list[FieldError]:
    found: list[FieldError] = []
    allowed = {
        "completedIndexes": spec["completionMode"] == "Indexed",
        "failedIndexes": spec.get("backoffLimitPerIndex") is not None,
    }
    for name, fits in allowed.items():
        text = new.get(name)
        if not text or not _changed(new, old, name):
            continue
        if not fits:
            needs = "Indexed completion mode" if name == "completedIndexes" else "backoffLimitPerIndex"
            found.append(field.invalid(f"status.{name}", text, f"cannot set non-empty {name} without {needs}"))
            continue
        try:
            count_indexes(text, spec.get("completions") or 0)
        except ValueError as e:
            found.append(field.invalid(f"status.{name}", text, f"error parsing {name}: {e}"))
    return found


def _conditions(new: Object, old: Object) -> list[FieldError]:
    """Terminal conditions stay, come after their announcement, and never both."""
    texts: list[str] = []
    for kind in ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"):
        if _holds(old, kind) and not _holds(new, kind):
            texts.append(f"cannot disable the terminal {kind}=True condition")
    if _holds(new, "Failed") and not _holds(new, "FailureTarget") and _turned(new, old, "Failed"):
        texts.append("cannot set Failed=True condition without the FailureTarget=true condition")
    announced = ("Complete", "SuccessCriteriaMet")
    if _holds(new, "Complete") and not _holds(new, "SuccessCriteriaMet") and _turned(new, old, *announced):
        texts.append("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if _holds(new, "Complete") and _holds(new, "Failed") and _turned(new, old, "Complete", "Failed"):
        texts.append("cannot set Complete=True and Failed=true conditions")
    if _holds(new, "Complete") and _holds(new, "FailureTarget") and _turned(new, old, "Complete", "FailureTarget"):
        texts.append("cannot set Complete=True and FailureTarget=true conditions")
    return [FieldError(_CONDITIONS, "FieldValueInvalid", f"Invalid value: {text}") for text in texts]


def _ended(spec: Object, new: Object, old: Object) -> list[FieldError]:
    """What a finished Job has, and has no more."""
    if not _finished(new):
        return []
    found: list[FieldError] = []
    turned = _finished(new) != _finished(old)
    for name in ("active", "terminating"):
        if new.get(name) and (turned or _changed(new, old, name)):
            found.append(field.invalid(f"status.{name}", new[name], f"{name}>0 is invalid for finished job"))
    nothing_to_do = spec.get("suspend") is True and spec.get("completions") == 0
    if not new.get("startTime") and not nothing_to_do and (turned or _changed(new, old, "startTime")):
        found.append(field.required(_START, "startTime is required for finished job"))
    uncounted = new.get("uncountedTerminatedPods") or {}
    if any(uncounted.values()) and (turned or _changed(new, old, "uncountedTerminatedPods")):
        text = "uncountedTerminatedPods needs to be empty for finished job"
        found.append(field.invalid("status.uncountedTerminatedPods", uncounted, text))
    return found


def _times(spec: Object, new: Object, old: Object) -> list[FieldError]:
    found: list[FieldError] = []
    start, end = new.get("startTime"), new.get("completionTime")
    if old.get("startTime") and start != old["startTime"] and not spec.get("suspend") and not _resumes(new, old):
        what = "modified" if start else "removed"
        found.append(field.required(_START, f"startTime cannot be {what} for unsuspended job"))
    if start and end and _changed(new, old, "startTime", "completionTime") and _moment(end) < _moment(start):
        found.append(field.invalid(_END, end, "completionTime cannot be set before startTime"))
    if old.get("completionTime") and end != old["completionTime"]:
        found.append(field.invalid(_END, end, "field is immutable"))
    complete = _holds(new, "Complete")
    if _turned(new, old, "Complete") or _changed(new, old, "completionTime"):
        if end and not complete:
            text = "cannot set completionTime when there is no Complete=True condition"
            found.append(field.invalid(_END, end, text))
        if complete and not end:
            found.append(field.required(_END, "completionTime is required for Complete jobs"))
    return found


def _resumes(new: Object, old: Object) -> bool:
    return _holds(old, "Suspended") and not _holds(new, "Suspended")


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
