"""Custom resources: the rules that a CRD declares."""

# ruff: noqa: ARG002 - hooks share one signature
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selm_local.apiserver import patch
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.jsonpath import compile_path
from selm_local.apiserver.kinds.base import Decoded, Strategy
from selm_local.apiserver.resources import CUSTOM_VERBS, STATUS, Resource
from selm_local.apiserver.schema.custom import CustomSchema
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

DEFAULT_COLUMNS = [
    {
        "name": "Age",
        "type": "date",
        "jsonPath": ".metadata.creationTimestamp",
        "description": "CreationTimestamp is a timestamp representing the server time when this object was created.",
    }
]


def custom_resource(crd: Mapping[str, Any], version: Mapping[str, Any]) -> Resource:
    """The served resource of one version of an established CRD."""
    spec, names = crd["spec"], (crd.get("status") or {}).get("acceptedNames") or crd["spec"]["names"]
    has_status = "status" in (version.get("subresources") or {})
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind") or names["kind"] + "List",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=CUSTOM_VERBS,
        subresources=(STATUS,) if has_status else (),
        generation=True,
        custom=True,
    )


class Custom(Strategy):
    unconditional_update = False
    strategic_patch = False
    validates_metadata = True

    def __init__(self, resource: Resource, crd: Mapping[str, Any], version: Mapping[str, Any]):
        super().__init__(resource)
        stored = next(v["name"] for v in crd["spec"]["versions"] if v.get("storage"))
        self.terminating = bool(crd["metadata"].get("deletionTimestamp"))
        self._stored_version = f"{resource.group}/{stored}"
        self.schema = CustomSchema.of_crd(crd, resource.version)
        self._columns: list[Object] = list(version.get("additionalPrinterColumns") or DEFAULT_COLUMNS)
        paths = [f["jsonPath"] for f in version.get("selectableFields") or []]
        self._selectable = {p.removeprefix("."): compile_path(p) for p in paths}

    @property
    def converts(self) -> bool:
        return self._stored_version != self.resource.api_version

    def to_storage(self, obj: Object) -> Object:
        return {**obj, "apiVersion": self._stored_version}

    def from_storage(self, obj: Object) -> Object:
        """Conversion `None`: the versions differ in nothing but their name."""
        obj["apiVersion"] = self.resource.api_version
        return obj

    def refuse_create(self) -> None:
        if self.terminating:
            text = "create not allowed while custom resource definition is terminating"
            raise ApiError(405, "MethodNotAllowed", text, {"group": self.resource.group, "kind": self.resource.plural})

    def decode(self, obj: Object) -> Decoded:
        obj.setdefault("apiVersion", self.resource.api_version)
        obj.setdefault("kind", self.resource.kind)
        pruned, unknown = self.schema.prune(obj)
        return Decoded(pruned, unknown)

    def default(self, obj: Object) -> Object:
        result: Object = self.schema.default(obj)
        return result

    def prepare_create(self, obj: Object) -> None:
        """A status that comes with a new object is dropped; what the schema puts in its place shows on every read."""
        super().prepare_create(obj)
        obj.update(self.default(obj))

    def merge_type(self) -> patch.MergeType:
        if self._merge_type is None:
            self._merge_type = patch.merge_type_of(self.schema)
        return self._merge_type

    def prepare_status(self, obj: Object, old: Object) -> Object:
        """Status and the ownership of fields; nothing else changes through the subresource."""
        metadata = dict(old["metadata"])
        for name in ("managedFields", "resourceVersion"):
            if name in obj["metadata"]:
                metadata[name] = obj["metadata"][name]
        result = {**old, "metadata": metadata}
        self._keep(result, obj, "status")
        return result

    def desired(self, obj: Object) -> Any:
        outside = ("metadata", "status") if self.resource.has_status else ("metadata",)
        return {k: v for k, v in obj.items() if k not in outside}

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        return self.schema.validate(obj, old)

    def validate_subresource(self, subresource: str, obj: Object, old: Object) -> list[FieldError]:
        return self.schema.validate(obj, old)

    @property
    def printer_columns(self) -> list[Object]:
        return self._columns

    def selectable(self, name: str) -> bool:
        return name in self._selectable or super().selectable(name)

    def field_value(self, obj: Object, name: str) -> str:
        find = self._selectable.get(name)
        if find is None:
            return super().field_value(obj, name)
        found = find(obj)
        value = found[0] if found else None
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)
