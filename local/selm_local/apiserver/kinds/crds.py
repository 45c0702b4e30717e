"""CustomResourceDefinitions: admission by `schema`, names in use, establishment, deletion with all instances.

On a real cluster controllers set the conditions a moment after the write; here they are part of it.
Source: k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,finalizer}.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

from selm_local.apiserver.kinds.builtin import BuiltIn
from selm_local.apiserver.meta import now_text
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.schema import default_crd, validate_crd
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def condition_of(crd: Object, kind: str) -> Object | None:
    found = (crd.get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind), None)


def established(crd: Object) -> bool:
    found = condition_of(crd, "Established")
    return found is not None and found["status"] == "True"


def set_condition(status: Object, kind: str, value: str, reason: str, message: str, time: str) -> None:
    """Set a condition; its transition time changes with its value only."""
    conditions = status.setdefault("conditions", [])
    new = {"type": kind, "status": value, "lastTransitionTime": time, "reason": reason, "message": message}
    for i, old in enumerate(conditions):
        if old["type"] == kind:
            if old["status"] == value:
                new["lastTransitionTime"] = old["lastTransitionTime"]
            conditions[i] = new
            return
    conditions.append(new)


def name_conflict(crd: Object, others: Iterable[Object]) -> tuple[str, str] | None:
    """(reason, message) where a name is in use by another CRD of the group."""
    names = crd["spec"]["names"]
    plurals: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] != crd["spec"]["group"] or other["metadata"]["name"] == crd["metadata"]["name"]:
            continue
        used = (other.get("status") or {}).get("acceptedNames") or {}
        plurals |= {used.get("plural", ""), used.get("singular", ""), *(used.get("shortNames") or ())}
        kinds |= {used.get("kind", ""), used.get("listKind", "")}
    for reason, value, taken in (
        ("PluralConflict", names["plural"], plurals),
        ("SingularConflict", names["singular"], plurals),
        *(("ShortNamesConflict", short, plurals) for short in names.get("shortNames") or ()),
        ("KindConflict", names["kind"], kinds),
        ("ListKindConflict", names["listKind"], kinds),
    ):
        if value and value in taken:
            return reason, f'"{value}" is already in use'
    return None


class CustomResourceDefinitions(BuiltIn):
    unconditional_update = False

    def __init__(self, resource: Resource):
        super().__init__(resource)
        # The registry sets both: all stored CRDs, and the time.
        self.stored: Callable[[], list[Object]] = list
        self.clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    def default(self, obj: Object) -> Object:
        result: Object = default_crd(obj)
        return result

    def initial_status(self, obj: Object) -> Object:
        return self._established({**obj, "status": {}})

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        if obj["spec"] != old["spec"]:
            obj["status"] = self._established(obj)

    def _established(self, crd: Object) -> Object:
        """The status that follows from the spec and from the names that others use."""
        if not (crd["spec"].get("names") or {}).get("kind") or not crd["spec"].get("group"):
            return {}  # validation refuses it a moment later
        status: Object = default_crd(crd).get("status") or {}
        now, conflict = now_text(self.clock()), name_conflict(crd, self.stored())
        was_established = established({"status": status})
        if conflict is None:
            status["acceptedNames"] = dict(crd["spec"]["names"])
            set_condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
            text = "the initial names have been accepted"
            set_condition(status, "Established", "True", "InitialNamesAccepted", text, now)
            return status
        status.setdefault("acceptedNames", {"kind": "", "plural": ""})
        set_condition(status, "NamesAccepted", "False", *conflict, now)
        if not was_established:
            set_condition(status, "Established", "False", "NotAccepted", "not all names are accepted", now)
        return status

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        return validate_crd(obj, old)

    validates_metadata = True

    def mark_deleted(self, obj: Object) -> None:
        finalizers: list[Any] = obj["metadata"].setdefault("finalizers", [])
        if CLEANUP not in finalizers:
            finalizers.append(CLEANUP)
        text = "CustomResource deletion is pending"
        set_condition(obj["status"], "Terminating", "True", "InstanceDeletionPending", text, now_text(self.clock()))
