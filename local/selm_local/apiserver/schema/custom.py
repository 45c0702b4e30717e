"""One version of a custom resource: pruning, defaults and validation, compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selm_local.apiserver.schema import defaulting, embedded, errors, listtypes, names, pruning, values
from selm_local.apiserver.schema.cel.rules import RuleSet
from selm_local.apiserver.schema.errors import NO_FIELD, FieldError
from selm_local.apiserver.schema.jsonvalue import Json
from selm_local.apiserver.schema.node import ABSENT, Node

_BLOCKING = frozenset(
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"]
)
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


class CustomSchema:
    """The schema of one version of a CRD. Methods leave their arguments unchanged."""

    def __init__(
        self, open_api: Mapping[str, Any], *, api_version: str = "", kind: str = "", status_subresource: bool = False
    ) -> None:
        """`open_api`: the version's openAPIV3Schema, which `crd.validate_crd` admitted."""
        self.open_api, self.api_version, self.kind = open_api, api_version, kind
        self.status_subresource = status_subresource
        self.root = Node.parse(open_api)
        self._rules = RuleSet(self.root)

    @classmethod
    def of_crd(cls, crd: Mapping[str, Any], version: str) -> CustomSchema:
        """The schema of `version` of a CRD. KeyError where the CRD has no such version."""
        spec = crd["spec"]
        found = next((each for each in spec["versions"] if each["name"] == version), None)
        if found is None:
            raise KeyError(f"{crd['metadata']['name']} has no version {version}")
        return cls(
            found["schema"]["openAPIV3Schema"],
            api_version=f"{spec['group']}/{version}",
            kind=spec["names"]["kind"],
            status_subresource="status" in (found.get("subresources") or {}),
        )

    def prune(self, obj: Json) -> tuple[Json, list[str]]:
        """The object without undeclared fields, and their paths, sorted."""
        return pruning.prune(self.root, obj)

    def default(self, obj: Json) -> Json:
        """The object with defaults filled in and nulls that may not be removed."""
        return defaulting.default(self.root, obj)

    def validate(self, new: Json, old: Json | None = None) -> list[FieldError]:
        """Every reason to refuse `new`, a pruned and defaulted object; `old` is the stored one on an update.

        The order and the short cuts are the real server's: apiVersion and kind, metadata, the schema, list types, and
        rules only where nothing before makes their outcome meaningless.
        """
        before = ABSENT if old is None else old
        found = self._type_meta(new)
        if not found:
            old_meta = None if old is None else old.get("metadata") or {}
            found += names.object_meta(new.get("metadata") or {}, old=old_meta)
            found += values.validate(self.root, new, before)
        found += embedded.validate(self.root, new)
        if old is None or not listtypes.validate(self.root, old):
            found += listtypes.validate(self.root, new)
        if any(error.reason in _BLOCKING for error in found):
            return [*found, FieldError(NO_FIELD, "FieldValueInvalid", f"Invalid value: null: {_NOT_CHECKED}")]
        return found + self._rules.validate(new, before)

    def _type_meta(self, obj: Json) -> list[FieldError]:
        found = []
        if self.kind and obj.get("kind") != self.kind:
            found.append(errors.invalid("kind", obj.get("kind") or "", f"must be {self.kind}"))
        if self.api_version and obj.get("apiVersion") != self.api_version:
            found.append(errors.invalid("apiVersion", obj.get("apiVersion") or "", f"must be {self.api_version}"))
        return found


def admit(
    schema: CustomSchema, new: Json, old: Json | None = None, *, strict: bool = True, subresource: str | None = None
) -> tuple[Json, list[FieldError]]:
    """What a create (`old` None) or a PUT would store, and why it would be refused (then nothing is stored).

    In Kubernetes' order: unknown fields (with `strict` they refuse at once, as 400 does), pruning, defaults, then what
    a request may not write (status on the main endpoint, everything but status on `subresource="status"`), validation.
    """
    stored, unknown = schema.prune(new)
    if strict and unknown:
        return new, [FieldError(path, "UnknownField", f'unknown field "{path}"') for path in unknown]
    stored = schema.default(stored)
    if schema.status_subresource:
        stored = dict(stored)
        if subresource == "status":
            stored = _status_only(stored, old)
        else:
            stored.pop("status", None)
            if old is not None and "status" in old:
                stored["status"] = old["status"]
    return stored, schema.validate(stored, old)


def _status_only(new: Json, old: Json | None) -> Json:
    """What a write to the status subresource stores: the old object with the new status and owners of fields."""
    kept = {} if old is None else {name: value for name, value in old.items() if name != "status"}
    if "status" in new:
        kept["status"] = new["status"]
    managed = (new.get("metadata") or {}).get("managedFields")
    metadata = {name: value for name, value in (kept.get("metadata") or {}).items() if name != "managedFields"}
    return {**kept, "metadata": {**metadata, **({"managedFields": managed} if managed is not None else {})}}
