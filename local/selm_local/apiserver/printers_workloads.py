"""The columns of pods and Jobs, as kubectl shows them (kubernetes/pkg/printers/internalversion)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from selm_local.apiserver.durations import age_of, human_duration, since
from selm_local.apiserver.selectors import text_of
from selm_local.apiserver.storage import Object


def _spec(obj: Object) -> Object:
    found: Object = obj.get("spec") or {}
    return found


def _status(obj: Object) -> Object:
    found: Object = obj.get("status") or {}
    return found


# --- pods


def _pod_reason(obj: Object) -> str:
    """The STATUS column: the first init container that is not done, else the last container's reason, else the phase."""
    status = _status(obj)
    reason: str = status.get("reason") or status.get("phase") or "Unknown"
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    inits = status.get("initContainerStatuses") or []
    for i, container in enumerate(inits):
        state = container.get("state") or {}
        ended = state.get("terminated")
        if ended and ended.get("exitCode") == 0:
            continue
        reason = "Init:" + _ended_reason(ended) if ended else f"Init:{i}/{len(_spec(obj).get('initContainers') or [])}"
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            reason = "Init:" + waiting
        return "Terminating" if obj["metadata"].get("deletionTimestamp") else reason
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        state = container.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            reason = waiting
        elif ended := state.get("terminated"):
            reason = _ended_reason(ended)
        elif container.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        reason = "Running" if ready else "NotReady"
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        return reason if status.get("phase") in ("Succeeded", "Failed") else "Terminating"
    return reason


def _ended_reason(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode')}"


def pod_cells(obj: Object) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    containers = status.get("containerStatuses") or []
    ready = sum(1 for c in containers if c.get("ready") and "running" in (c.get("state") or {}))
    gates = spec.get("readinessGates") or []
    held = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    gated = f"{sum(g['conditionType'] in held for g in gates)}/{len(gates)}" if gates else "<none>"
    return [
        f"{ready}/{len(spec.get('containers') or [])}",
        _pod_reason(obj),
        str(sum(c.get("restartCount", 0) for c in containers)),
        age_of(obj),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        gated,
    ]


def pod_conditions(obj: Object) -> list[Object]:
    phase = _status(obj).get("phase")
    if phase == "Succeeded":
        return [
            {
                "type": "Completed",
                "status": "True",
                "reason": "Succeeded",
                "message": "The pod has completed successfully.",
            }
        ]
    if phase == "Failed":
        return [{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}]
    return []


# --- jobs


def job_cells(obj: Object) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    conditions = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    if "Complete" in conditions:
        state = "Complete"
    elif "Failed" in conditions:
        state = "Failed"
    elif obj["metadata"].get("deletionTimestamp"):
        state = "Terminating"
    elif "Suspended" in conditions:
        state = "Suspended"
    elif "FailureTarget" in conditions:
        state = "FailureTarget"
    elif "SuccessCriteriaMet" in conditions:
        state = "SuccessCriteriaMet"
    else:
        state = "Running"
    succeeded = status.get("succeeded", 0)
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    if completions is not None:
        done = f"{succeeded}/{completions}"
    else:
        done = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    containers, images = _containers(spec.get("template") or {})
    selector = ",".join(f"{k}={v}" for k, v in ((spec.get("selector") or {}).get("matchLabels") or {}).items())
    return [state, done, _job_duration(status), age_of(obj), containers, images, selector or "<none>"]


def _job_duration(status: Object) -> str:
    started, ended = status.get("startTime"), status.get("completionTime")
    if not started:
        return ""
    if not ended:
        return since(started)
    return human_duration((dt.datetime.fromisoformat(ended) - dt.datetime.fromisoformat(started)).total_seconds())


def _containers(template: Object) -> tuple[str, str]:
    found = (template.get("spec") or {}).get("containers") or []
    return ",".join(c["name"] for c in found), ",".join(c.get("image", "") for c in found)


# --- Deployments and ReplicaSets


def deployment_cells(obj: Object) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    containers, images = _containers(spec.get("template") or {})
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [ready, *counts, age_of(obj), containers, images, selector_text(spec.get("selector"))]


def replica_set_cells(obj: Object) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    containers, images = _containers(spec.get("template") or {})
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [*counts, age_of(obj), containers, images, selector_text(spec.get("selector"))]


def selector_text(selector: Object | None) -> str:
    """A metav1.LabelSelector as kubectl shows it."""
    return text_of(selector) or "<none>"
