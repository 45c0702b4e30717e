"""Small readers of Kubernetes objects as JSON dictionaries, shared by the controllers and the node."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Obj = dict[str, Any]
"""One API object (or a part of one) in its JSON shape."""

TERMINAL_PHASES = ("Succeeded", "Failed")


def meta(obj: Obj) -> Obj:
    """`metadata` of an object; an empty dictionary where it is absent."""
    return obj.get("metadata") or {}


def name_of(obj: Obj) -> str:
    return str(meta(obj).get("name", ""))


def namespace_of(obj: Obj) -> str:
    return str(meta(obj).get("namespace", ""))


def uid_of(obj: Obj) -> str:
    return str(meta(obj).get("uid", ""))


def is_deleting(obj: Obj) -> bool:
    return bool(meta(obj).get("deletionTimestamp"))


def pod_phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_terminal(pod: Obj) -> bool:
    """Whether a pod's phase is one that it never leaves."""
    return pod_phase(pod) in TERMINAL_PHASES


def condition(obj: Obj, type_: str) -> Obj | None:
    """The condition of that type in `status.conditions`, or None."""
    for one in (obj.get("status") or {}).get("conditions") or []:
        if one.get("type") == type_:
            found: Obj = one
            return found
    return None


def condition_is(obj: Obj, type_: str, status: str = "True") -> bool:
    found = condition(obj, type_)
    return found is not None and found.get("status") == status


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference with `controller: true`, or None."""
    for reference in meta(obj).get("ownerReferences") or []:
        if reference.get("controller"):
            found: Obj = reference
            return found
    return None


def reference_to(owner: Obj) -> Obj:
    """The owner reference of a controller's child."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as metav1.Time is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as metav1.MicroTime is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The moment that a metav1.Time or MicroTime names. Raises ValueError for anything else."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
