"""What all of Kubernetes' own kinds share: bodies read by the published schemas."""

# ruff: noqa: ARG002 - hooks share one signature
from __future__ import annotations

from typing import Any

from selm_local.apiserver import builtin
from selm_local.apiserver.kinds.base import Decoded, Strategy
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object


class BuiltIn(Strategy):
    """A kind of Kubernetes' own. Subclasses default and validate what the schema cannot say."""

    def __init__(self, resource: Resource):
        super().__init__(resource)
        name = builtin.definition_name(resource.group, resource.version, resource.kind)
        if name is None:
            raise ValueError(f"Kubernetes {builtin.RELEASE} publishes no schema of {resource}")
        self._read = builtin.decoder(name)
        declared = builtin.definitions()[name].get("properties") or {}
        self._parts = [part for part in ("metadata", "spec", "status") if part in declared]

    def decode(self, obj: Object) -> Decoded:
        resource = self.resource
        version, kind = obj.get("apiVersion"), obj.get("kind")
        if version not in (None, "", resource.api_version) or kind not in (None, "", resource.kind):
            raise builtin.DecodeError(f'no kind "{kind}" is registered for version "{version}" at this path')
        decoded, unknown = self._read(obj)
        return Decoded({"apiVersion": resource.api_version, "kind": resource.kind, **decoded}, unknown)

    def blank(self) -> Object:
        """Go's structs are there, empty, where its pointers, maps and lists are absent."""
        return {part: {} for part in self._parts} | self.blank_parts()

    def blank_parts(self) -> Object:
        """What beyond metadata, spec and status is there in an empty object of the kind."""
        return {}

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if self.resource.has_status:
            obj["status"] = self.initial_status(obj)

    def initial_status(self, obj: Object) -> Object:
        return {}


# --- helpers of validation


def immutable(path: str, new: Any, old: Any) -> list[FieldError]:
    return [] if new == old else [field.invalid(path, new, "field is immutable")]


def at_least(path: str, value: Any, least: int) -> list[FieldError]:
    if value is None or value >= least:
        return []
    return [field.invalid(path, value, f"must be greater than or equal to {least}")]


def one_of(path: str, value: Any, allowed: tuple[Any, ...]) -> list[FieldError]:
    return [] if value is None or value in allowed else [field.not_supported(path, value, allowed)]


def path_segment(name: str) -> list[str]:
    """The names that RBAC objects may have: whatever can stand in a URL's path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{c}'" for c in ("/", "%") if c in name]
