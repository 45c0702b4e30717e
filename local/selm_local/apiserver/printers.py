"""The columns of built-in kinds, as kubectl shows them (kubernetes/pkg/printers/internalversion)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selm_local.apiserver.durations import age_of, since
from selm_local.apiserver.printers_workloads import (
    deployment_cells,
    job_cells,
    pod_cells,
    pod_conditions,
    replica_set_cells,
    selector_text,
)
from selm_local.apiserver.storage import Object

Cells = list[Any]


@dataclass(frozen=True)
class Printer:
    """columns: (name, type, priority) after Name (which comes first unless `name_first` says no); cells in the same order. conditions: of the row (finished ones)."""

    columns: tuple[tuple[str, str, int], ...]
    cells: Callable[[Object], Cells]
    conditions: Callable[[Object], list[Object]] | None = None
    name_first: bool = True


def _spec(obj: Object) -> Object:
    found: Object = obj.get("spec") or {}
    return found


def _status(obj: Object) -> Object:
    found: Object = obj.get("status") or {}
    return found


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


def _quota(obj: Object) -> Cells:
    hard, used = _status(obj).get("hard") or {}, _status(obj).get("used") or {}
    shown: dict[bool, list[str]] = {False: [], True: []}
    for name in sorted(hard):
        shown[name.startswith("limits")].append(f"{name}: {used.get(name, '0')}/{hard[name]}")
    return [", ".join(shown[False]), ", ".join(shown[True]), age_of(obj)]


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


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _claim(obj: Object) -> Cells:
    spec, status = _spec(obj), _status(obj)
    return [
        status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", ""),
        ",".join(_MODES.get(m, m) for m in status.get("accessModes") or []),
        spec.get("storageClassName", ""),
        age_of(obj),
        spec.get("volumeMode", "<unset>"),
    ]


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
        pod_cells,
        pod_conditions,
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
        job_cells,
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
    ("apps", "Deployment"): Printer(
        (
            ("Ready", "string", 0),
            ("Up-to-date", "string", 0),
            ("Available", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ),
        deployment_cells,
    ),
    ("apps", "ReplicaSet"): Printer(
        (
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ),
        replica_set_cells,
    ),
    ("policy", "PodDisruptionBudget"): Printer(
        (
            ("Min Available", "string", 0),
            ("Max Unavailable", "string", 0),
            ("Allowed Disruptions", "integer", 0),
            ("Age", "string", 0),
        ),
        lambda o: [
            str(_spec(o).get("minAvailable", "N/A")),
            str(_spec(o).get("maxUnavailable", "N/A")),
            _status(o).get("disruptionsAllowed", 0),
            age_of(o),
        ],
    ),
    ("networking.k8s.io", "NetworkPolicy"): Printer(
        (("Pod-Selector", "string", 0), ("Age", "string", 0)),
        lambda o: [selector_text(_spec(o).get("podSelector") or {}), age_of(o)],
    ),
    ("", "ResourceQuota"): Printer((("Request", "string", 0), ("Limit", "string", 0), ("Age", "string", 0)), _quota),
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
    ("", "PersistentVolumeClaim"): Printer(
        (
            ("Status", "string", 0),
            ("Volume", "string", 0),
            ("Capacity", "string", 0),
            ("Access Modes", "string", 0),
            ("StorageClass", "string", 0),
            ("Age", "string", 0),
            ("VolumeMode", "string", 1),
        ),
        _claim,
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
