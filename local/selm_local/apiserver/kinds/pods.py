"""Pods: defaults, what of a spec may change, graceful deletion."""

from __future__ import annotations

import copy
from typing import Any

from selm_local.apiserver.errors import forbidden
from selm_local.apiserver.kinds.base import Find
from selm_local.apiserver.kinds.builtin import BuiltIn
from selm_local.apiserver.kinds.podspec import default_pod_spec, quantity, validate_pod_spec
from selm_local.apiserver.resources import PRIORITY_CLASSES, SERVICE_ACCOUNTS
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

_SELECTABLE = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    }
)
_NOT_CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class Pods(BuiltIn):
    returns_deleted = True

    def blank_parts(self) -> Object:
        return {"spec": {"containers": None}}

    def default(self, obj: Object) -> Object:
        spec = obj.setdefault("spec", {})
        default_pod_spec(spec)
        spec.setdefault("enableServiceLinks", True)
        return obj

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        for name in ("priority", "preemptionPolicy"):
            if name in old["spec"]:
                obj["spec"].setdefault(name, old["spec"][name])

    def admit(self, obj: Object, find: Find) -> None:
        spec, meta = obj["spec"], obj["metadata"]
        spec.setdefault("serviceAccountName", "default")
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        if wanted := spec.get("priorityClassName"):
            priority = find(PRIORITY_CLASSES, None, wanted)
            if priority is None:
                why = f"no PriorityClass with name {wanted} was found"
                raise forbidden("", "pods", meta.get("name", ""), why)
            spec["priority"] = priority.get("value", 0)
            spec["preemptionPolicy"] = priority.get("preemptionPolicy", "PreemptLowerPriority")
        account, namespace = spec["serviceAccountName"], meta.get("namespace")
        # "default" is made by a controller a moment after its namespace.
        if account != "default" and find(SERVICE_ACCOUNTS, namespace, account) is None:
            why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
            raise forbidden("", "pods", meta.get("name", ""), why)

    def initial_status(self, obj: Object) -> Object:
        return {"phase": "Pending", "qosClass": qos_class(obj["spec"])}

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        found = validate_pod_spec(obj["spec"], "spec")
        return found + (_changed(obj["spec"], old["spec"]) if old else [])

    def prepare_subresource(self, subresource: str, obj: Object, old: Object) -> Object:
        if subresource != "binding":
            return self.prepare_status(obj, old)
        # The scheduler's one act: name the node, and say so in the status.
        bound = copy.deepcopy(old)
        bound["spec"]["nodeName"] = obj["spec"]["nodeName"]
        bound["status"] = obj["status"]
        return bound

    def prepare_status(self, obj: Object, old: Object) -> Object:
        result = super().prepare_status(obj, old)
        references = old["metadata"].get("ownerReferences")
        if references is not None:
            result["metadata"]["ownerReferences"] = references
        else:
            result["metadata"].pop("ownerReferences", None)
        return result

    def grace_seconds(self, obj: Object, asked: int | None) -> int:
        spec, phase = obj["spec"], (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0  # nothing runs, so there is nothing to wait for
        own = int(spec.get("terminationGracePeriodSeconds") or 0)
        return own if asked is None else asked

    def selectable(self, name: str) -> bool:
        return name in _SELECTABLE


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of all containers."""
    containers = (spec.get("containers") or []) + (spec.get("initContainers") or [])
    resources = [c.get("resources") or {} for c in containers]
    named = [
        (kind, name)
        for r in resources
        for kind in ("requests", "limits")
        for name in (r.get(kind) or {})
        if name in ("cpu", "memory") and quantity(r[kind][name])
    ]
    if not named:
        return "BestEffort"
    for r in resources:
        limits, requests = r.get("limits") or {}, r.get("requests") or {}
        for name in ("cpu", "memory"):
            if not quantity(limits.get(name, "0")) or limits.get(name) != requests.get(name, limits.get(name)):
                return "Burstable"
    return "Guaranteed"


def _changed(new: Object, old: Object) -> list[FieldError]:
    """A pod's spec is fixed but for images, a shorter deadline, more tolerations, and gates that are lifted."""
    ours = copy.deepcopy(new)
    for key in ("containers", "initContainers"):
        for mine, before in zip(ours.get(key) or [], old.get(key) or [], strict=False):
            mine["image"] = before.get("image")
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _put_back(ours, old, key)
    if (old.get("terminationGracePeriodSeconds") or 0) < 0:
        _put_back(ours, old, "terminationGracePeriodSeconds")
    found: list[FieldError] = []
    if ours != old:
        found.append(field.forbidden("spec", _NOT_CHANGEABLE))
    before, now = old.get("activeDeadlineSeconds"), new.get("activeDeadlineSeconds")
    if before is not None and (now is None or now > before):
        text = (
            f"must be less than or equal to previous value {before}"
            if now
            else "must not update from a positive integer to nil value"
        )
        found.append(field.invalid("spec.activeDeadlineSeconds", now, text))
    kept = new.get("tolerations") or []
    if any(t not in kept for t in old.get("tolerations") or []):
        text = "existing toleration can not be modified except its tolerationSeconds"
        found.append(field.forbidden("spec.tolerations", text))
    gates = old.get("schedulingGates") or []
    if any(g not in gates for g in new.get("schedulingGates") or []):
        found.append(
            field.forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates")
        )
    return found


def _put_back(ours: Object, old: Object, key: str) -> None:
    value: Any = old.get(key)
    if value is None:
        ours.pop(key, None)
    else:
        ours[key] = value
