"""What a kind adds to the rules that all objects share. One `Strategy` per served resource."""

# ruff: noqa: ARG002 - hooks share one signature
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from selm_local.apiserver import meta, patch
from selm_local.apiserver.builtin import DecodeError
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

__all__ = ["DecodeError", "Decoded", "Find", "Strategy"]


# (resource, namespace, name) -> the stored object, not to be changed
Find = Callable[[Resource, str | None, str], Object | None]


@dataclass
class Decoded:
    """An object as this kind reads it. unknown: paths of fields that the kind does not have (they are dropped)."""

    object: Object
    unknown: list[str] = field(default_factory=list)


class Strategy:
    """The default: an object without status, validated by its metadata alone.

    Methods get an object that is theirs to change and an `old` that is not. Metadata's system fields are the
    registry's business.
    """

    create_on_update: ClassVar[bool] = False
    unconditional_update: ClassVar[bool] = True
    returns_deleted: ClassVar[bool] = False
    strategic_patch: ClassVar[bool] = True
    # Whether `validate` looks at metadata too.
    validates_metadata: ClassVar[bool] = False
    default_propagation: ClassVar[str] = "Background"

    def __init__(self, resource: Resource):
        self.resource = resource
        self._merge_type: patch.MergeType | None = None

    # --- reading bodies

    def decode(self, obj: Object) -> Decoded:
        """The body as this kind. Raises DecodeError."""
        return Decoded(obj)

    def decode_applied(self, obj: Object) -> Decoded:
        """Like decode, for an apply patch: a part of an object, in which absent is not empty."""
        return self.decode(obj)

    def merge_type(self) -> patch.MergeType:
        """How this kind's lists and maps merge and who owns them."""
        if self._merge_type is None:
            self._merge_type = patch.merge_type((self.resource.group, self.resource.version, self.resource.kind))
        return self._merge_type

    def blank(self) -> Object:
        """An object of this kind in which nothing is set: the ground against which a new one's fields are owned."""
        return {}

    def default(self, obj: Object) -> Object:
        return obj

    def to_storage(self, obj: Object) -> Object:
        """From this version to the stored one."""
        return obj

    def from_storage(self, obj: Object) -> Object:
        """From the stored version to this one. `obj` may be changed."""
        return obj

    @property
    def converts(self) -> bool:
        """Whether from_storage changes anything (if not, the stored bytes are served as they lie)."""
        return False

    # --- admission

    def refuse_create(self) -> None:
        """Raises ApiError where the kind takes no new objects at the moment."""

    def prepare_create(self, obj: Object) -> None:
        if self.resource.has_status:
            obj.pop("status", None)
        if self.resource.generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, obj: Object, old: Object) -> None:
        """Called for the main endpoint: the status is the old one's; generation counts changes beside it."""
        if self.resource.has_status:
            self._keep(obj, old, "status")
        if self.resource.generation and self.desired(obj) != self.desired(old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def prepare_status(self, obj: Object, old: Object) -> Object:
        """What an update of the status subresource may change: status, and metadata that the system does not set."""
        result = {**old, "metadata": obj["metadata"]}
        self._keep(result, obj, "status")
        return result

    def prepare_subresource(self, subresource: str, obj: Object, old: Object) -> Object:
        return self.prepare_status(obj, old)

    def may_go(self, obj: Object) -> bool:
        """Whether an object that is being deleted has nothing left that holds it."""
        return meta.may_go(obj)

    def desired(self, obj: Object) -> Any:
        """What `generation` counts changes of."""
        return obj.get("spec")

    def admit(self, obj: Object, find: Find) -> None:
        """What a new object needs of others. Raises ApiError 403 where it is not there."""

    def validate_name(self, name: str) -> list[str]:
        return names.dns1123_subdomain(name)

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        """Reasons to refuse beside metadata's. old: None on create."""
        return []

    def validate_subresource(self, subresource: str, obj: Object, old: Object) -> list[FieldError]:
        """The same for an update through a subresource."""
        return []

    def warnings(self, obj: Object, old: Object | None) -> list[str]:
        return []

    # --- deletion

    def grace_seconds(self, obj: Object, asked: int | None) -> int:
        """How long the object may live on after its deletion. Only pods have grace."""
        return 0

    def mark_deleted(self, obj: Object) -> None:
        """Called when the deletion is marked for the first time."""

    def deletion_warnings(self, propagation: str | None) -> list[str]:
        return []

    # --- showing

    @property
    def printer_columns(self) -> list[Object] | None:
        """additionalPrinterColumns of a custom resource; None for a built-in kind."""
        return None

    # --- selecting

    def selectable(self, name: str) -> bool:
        return name == "metadata.name" or (name == "metadata.namespace" and self.resource.namespaced)

    def field_value(self, obj: Object, name: str) -> str:
        """The value of a selectable field, as text; empty where it is missing."""
        value: Any = obj
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)

    @staticmethod
    def _keep(obj: Object, old: Object, name: str) -> None:
        if name in old:
            obj[name] = old[name]
        else:
            obj.pop(name, None)
