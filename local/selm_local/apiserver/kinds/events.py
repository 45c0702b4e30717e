"""Events: one storage, two APIs. The old one (core/v1) is what is stored.

Source: kubernetes/pkg/apis/events/v1/conversion.go, pkg/apis/core/validation/events.go.
"""

from __future__ import annotations

from selm_local.apiserver.kinds.builtin import BuiltIn
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

_NOTE = 1024
_LABEL = 128
_CORE_FIELDS = (
    "action",
    "count",
    "firstTimestamp",
    "involvedObject.apiVersion",
    "involvedObject.fieldPath",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.resourceVersion",
    "involvedObject.uid",
    "metadata.name",
    "metadata.namespace",
    "reason",
    "reportingComponent",
    "source",
    "type",
)
# (name in events.k8s.io, name in core)
_RENAMED = (
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
)


class CoreEvents(BuiltIn):
    create_on_update = True

    def blank_parts(self) -> Object:
        return {
            "involvedObject": {},
            "source": {},
            "eventTime": None,
            "reportingComponent": "",
            "reportingInstance": "",
        }

    def default(self, obj: Object) -> Object:
        obj.setdefault("source", {})
        return obj

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        namespace = obj["metadata"].get("namespace")
        regarding = (obj.get("involvedObject") or {}).get("namespace") or ""
        found: list[FieldError] = []
        if regarding and regarding != namespace:
            found.append(field.invalid("involvedObject.namespace", regarding, "does not match event.namespace"))
        if not regarding and namespace not in ("default", "kube-system"):
            found.append(field.invalid("involvedObject.namespace", regarding, "does not match event.namespace"))
        if obj.get("eventTime"):
            found += _validate_new(obj, old)
        return found

    def selectable(self, name: str) -> bool:
        return name in _CORE_FIELDS

    def field_value(self, obj: Object, name: str) -> str:
        if name == "source":
            return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent", ""))
        return super().field_value(obj, name)


def _validate_new(obj: Object, old: Object | None) -> list[FieldError]:
    """Rules of events that were made in the new way, with eventTime. `obj` has core's field names."""
    found: list[FieldError] = []
    if not obj.get("reportingComponent"):
        found.append(field.required("reportingController"))
    instance = obj.get("reportingInstance") or ""
    if not instance:
        found.append(field.required("reportingInstance"))
    if len(instance) > _LABEL:
        found.append(field.invalid("reportingInstance", instance, f"can have at most {_LABEL} characters"))
    for name, value in (("action", obj.get("action") or ""), ("reason", obj.get("reason") or "")):
        if not value:
            found.append(field.required(name))
        if len(value) > _LABEL:
            found.append(field.invalid(name, value, f"can have at most {_LABEL} characters"))
    if len(obj.get("message") or "") > _NOTE:
        found.append(field.invalid("message", "", f"can have at most {_NOTE} characters"))
    if old is not None:
        for name in (
            "involvedObject",
            "reason",
            "eventTime",
            "reportingComponent",
            "reportingInstance",
            "action",
            "type",
        ):
            if obj.get(name) != old.get(name):
                found.append(field.invalid(name, obj.get(name), "field is immutable"))
    return found


class NewEvents(BuiltIn):
    """events.k8s.io/v1."""

    create_on_update = True

    def blank_parts(self) -> Object:
        return {"regarding": {}, "deprecatedSource": {}, "eventTime": None}

    @property
    def converts(self) -> bool:
        return True

    def to_storage(self, obj: Object) -> Object:
        result = {k: v for k, v in obj.items() if k not in {new for new, _ in _RENAMED}}
        for new, old in _RENAMED:
            if new in obj:
                result[old] = obj[new]
        result |= {"apiVersion": "v1", "kind": "Event"}
        result.setdefault("source", {})
        result.setdefault("involvedObject", {})
        return result

    def from_storage(self, obj: Object) -> Object:
        result = {k: v for k, v in obj.items() if k not in {old for _, old in _RENAMED}}
        for new, old in _RENAMED:
            if old in obj:
                result[new] = obj[old]
        result["apiVersion"] = self.resource.api_version
        return result

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        found: list[FieldError] = []
        if not obj.get("eventTime"):
            found.append(field.required("eventTime"))
        for name in ("deprecatedSource", "deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount"):
            if obj.get(name) and old is None:
                found.append(field.invalid(name, "", "needs to be unset"))
        if obj.get("type") not in ("Normal", "Warning"):
            found.append(field.invalid("type", obj.get("type", ""), 'has invalid value: ""'))
        stored_old = None if old is None else self.to_storage(old)
        return found + _validate_new(self.to_storage(obj), stored_old)

    def selectable(self, name: str) -> bool:
        return name in (
            "metadata.name",
            "metadata.namespace",
            "reason",
            "type",
            "reportingController",
            "regarding.kind",
            "regarding.name",
            "regarding.namespace",
            "regarding.uid",
        )
