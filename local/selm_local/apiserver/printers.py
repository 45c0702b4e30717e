"""The columns of built-in kinds, as kubectl shows them (kubernetes/pkg/printers/internalversion)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selm_local.apiserver.storage import Object

Cells = list[Any]


@dataclass(frozen=True)
class Printer:
    """columns: (name, type, priority) after Name (which comes first unless `name_first` says no); cells in the same order. conditions: of the row (finished ones)."""

    columns: tuple[tuple[str, str, int], ...]
    cells: Callable[[Object], Cells]
    conditions: Callable[[Object], list[Object]] | None = None
    name_first: bool = True


def human_duration(seconds: float) -> str:
    """12s, 3m, 3m20s, 5h, 2d, 1y: the steps of k8s.io/apimachinery/pkg/util/duration."""
    if seconds < -1:
        return "<invalid>"
    s = max(int(seconds), 0)
    minutes, hours, days = s // 60, s // 3600, s // 86400
    if s < 120:
        return f"{s}s"
    if minutes < 10:
        return f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8 and days % 365:
        return f"{years}y{days % 365}d"
    return f"{years}y"


def since(value: str | None) -> str:
    if not value:
        return "<unknown>"
    try:
        then = dt.datetime.fromisoformat(value)
    except ValueError:
        return "<unknown>"
    return human_duration((dt.datetime.now(dt.UTC) - then).total_seconds())


def age_of(obj: Object) -> str:
    return since(obj["metadata"].get("creationTimestamp"))


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


def _pod(obj: Object) -> Cells:
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


def _pod_conditions(obj: Object) -> list[Object]:
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


def _job(obj: Object) -> Cells:
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


# --- others


def _service(obj: Object) -> Cells:
    spec = _spec(obj)
    addresses = [
        i.get("ip") or i.get("hostname") for i in (_status(obj).get("loadBalancer") or {}).get("ingress") or []
    ]
    kind = spec.get("type", "ClusterIP")
    external = ",".join(addresses) or ("<pending>" if kind == "LoadBalancer" else spec.get("externalName") or "<none>")
    ports = ",".join(
        f"{p['port']}:{p['nodePort']}/{p.get('protocol', 'TCP')}"
        if p.get("nodePort")
        else f"{p['port']}/{p.get('protocol', 'TCP')}"
        for p in spec.get("ports") or []
    )
    selector = ",".join(f"{k}={v}" for k, v in (spec.get("selector") or {}).items())
    return [kind, spec.get("clusterIP") or "<none>", external, ports or "<none>", age_of(obj), selector or "<none>"]


def _node(obj: Object) -> Cells:
    status = _status(obj)
    ready = next((c["status"] for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
    state = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    if _spec(obj).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(prefix) for k in obj["metadata"].get("labels") or {} if k.startswith(prefix))
    info = status.get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in status.get("addresses") or []}
    return [
        state,
        ",".join(roles) or "<none>",
        age_of(obj),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _event(obj: Object) -> Cells:
    regarding = obj.get("involvedObject") or {}
    name = regarding.get("name", "")
    kind = (regarding.get("kind") or "").lower()
    series = obj.get("series") or {}
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    source = (obj.get("source") or {}).get("component") or obj.get("reportingComponent", "")
    return [
        since(last),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{name}" if kind else name,
        regarding.get("fieldPath", ""),
        source,
        (obj.get("message") or "").strip(),
        since(first),
        series.get("count") or obj.get("count") or 1,
        obj["metadata"]["name"],
    ]


def _role_binding(obj: Object) -> Cells:
    subjects = obj.get("subjects") or []
    named = {
        kind: ", ".join(
            f"{s.get('namespace')}/{s['name']}" if kind == "ServiceAccount" else s["name"]
            for s in subjects
            if s["kind"] == kind
        )
        for kind in ("User", "Group", "ServiceAccount")
    }
    role = f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}"
    return [role, age_of(obj), named["User"], named["Group"], named["ServiceAccount"]]


_BINDING_COLUMNS = (
    ("Role", "string", 0),
    ("Age", "string", 0),
    ("Users", "string", 1),
    ("Groups", "string", 1),
    ("ServiceAccounts", "string", 1),
)
PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "Pod"): Printer(
        (
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
            ("Age", "string", 0),
            ("IP", "string", 1),
            ("Node", "string", 1),
            ("Nominated Node", "string", 1),
            ("Readiness Gates", "string", 1),
        ),
        _pod,
        _pod_conditions,
    ),
    ("batch", "Job"): Printer(
        (
            ("Status", "string", 0),
            ("Completions", "string", 0),
            ("Duration", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ),
        _job,
    ),
    ("", "Service"): Printer(
        (
            ("Type", "string", 0),
            ("Cluster-IP", "string", 0),
            ("External-IP", "string", 0),
            ("Port(s)", "string", 0),
            ("Age", "string", 0),
            ("Selector", "string", 1),
        ),
        _service,
    ),
    ("", "Node"): Printer(
        (
            ("Status", "string", 0),
            ("Roles", "string", 0),
            ("Age", "string", 0),
            ("Version", "string", 0),
            ("Internal-IP", "string", 1),
            ("External-IP", "string", 1),
            ("OS-Image", "string", 1),
            ("Kernel-Version", "string", 1),
            ("Container-Runtime", "string", 1),
        ),
        _node,
    ),
    ("", "Namespace"): Printer(
        (("Status", "string", 0), ("Age", "string", 0)), lambda o: [_status(o).get("phase", ""), age_of(o)]
    ),
    ("", "ConfigMap"): Printer(
        (("Data", "string", 0), ("Age", "string", 0)),
        lambda o: [str(len(o.get("data") or {}) + len(o.get("binaryData") or {})), age_of(o)],
    ),
    ("", "Secret"): Printer(
        (("Type", "string", 0), ("Data", "string", 0), ("Age", "string", 0)),
        lambda o: [o.get("type", ""), str(len(o.get("data") or {})), age_of(o)],
    ),
    ("", "ServiceAccount"): Printer((("Age", "string", 0),), lambda o: [age_of(o)]),
    ("coordination.k8s.io", "Lease"): Printer(
        (("Holder", "string", 0), ("Age", "string", 0)), lambda o: [_spec(o).get("holderIdentity", ""), age_of(o)]
    ),
    ("rbac.authorization.k8s.io", "Role"): Printer(
        (("Created At", "date", 0),), lambda o: [o["metadata"]["creationTimestamp"]]
    ),
    ("rbac.authorization.k8s.io", "ClusterRole"): Printer(
        (("Created At", "date", 0),), lambda o: [o["metadata"]["creationTimestamp"]]
    ),
    ("rbac.authorization.k8s.io", "RoleBinding"): Printer(_BINDING_COLUMNS, _role_binding),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): Printer(_BINDING_COLUMNS, _role_binding),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Printer(
        (("Created At", "date", 0),), lambda o: [o["metadata"]["creationTimestamp"]]
    ),
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        (
            ("Value", "integer", 0),
            ("Global-Default", "boolean", 0),
            ("Age", "string", 0),
            ("PreemptionPolicy", "string", 0),
        ),
        lambda o: [
            o.get("value", 0),
            o.get("globalDefault", False),
            age_of(o),
            o.get("preemptionPolicy", "PreemptLowerPriority"),
        ],
    ),
    ("", "Event"): Printer(
        (
            ("Last Seen", "string", 0),
            ("Type", "string", 0),
            ("Reason", "string", 0),
            ("Object", "string", 0),
            ("Subobject", "string", 1),
            ("Source", "string", 1),
            ("Message", "string", 0),
            ("First Seen", "string", 1),
            ("Count", "string", 1),
            ("Name", "string", 1),
        ),
        _event,
        name_first=False,
    ),
}
