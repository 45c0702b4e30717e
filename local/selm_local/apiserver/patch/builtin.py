"""How objects of Kubernetes' own kinds merge: what their published schemas say of lists, maps and keys.

Source: the extensions x-kubernetes-list-type, -list-map-keys, -map-type, -patch-merge-key and -patch-strategy of
Kubernetes' OpenAPI definitions (as `selm_local.apiserver.builtin` reads them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final

from selm_local.apiserver import builtin
from selm_local.apiserver.patch.mergetypes import LEAF, MergeType, undeclared

Gvk = tuple[str, str, str]
"""(group, version, kind); the core group is ''."""
_PREFIX: Final = "#/$defs/"
_OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_KEY_DEFAULTS: Final = {"protocol": "TCP"}
"""What absent keys of lists count as; the published schemas have no defaults."""


@cache
def merge_type(gvk: Gvk) -> MergeType:
    """How objects of a built-in kind merge. KeyError where Kubernetes publishes no such kind."""
    name = builtin.definition_name(*gvk)
    if name is None:
        raise KeyError(f"Kubernetes {builtin.RELEASE} publishes no schema of {'/'.join(filter(None, gvk))}")
    return _named(name)


def object_meta() -> MergeType:
    """The metadata of any object."""
    return _named(_OBJECT_META)


@cache
def _named(name: str) -> MergeType:
    return _of(builtin.definitions()[name])


def _of(schema: Mapping[str, Any]) -> MergeType:
    """The merge type of one published schema; references are followed when they are asked for."""
    reference = schema.get("$ref")
    if reference is not None:
        return _named(reference.removeprefix(_PREFIX))
    types = schema.get("type") or []
    types = [types] if isinstance(types, str) else types
    if "array" in types:
        return _list(schema)
    if "object" not in types or schema.get("x-kubernetes-map-type") == "atomic":
        return LEAF
    if schema.get("properties"):
        fields: dict[str, Callable[[], MergeType]] = {
            name: partial(_cached, _Key(child)) for name, child in schema["properties"].items()
        }
        return MergeType("struct", fields=fields)
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        return MergeType("map", item=partial(_cached, _Key(additional)))
    return undeclared()  # an object of which nothing is published may hold anything


class _Key:
    """A schema as a key: by identity, which the cached definitions keep."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.schema is self.schema


@cache
def _cached(key: _Key) -> MergeType:
    return _of(key.schema)


def _list(schema: Mapping[str, Any]) -> MergeType:
    item = partial(_cached, _Key(schema.get("items") or {}))
    kind, keys = schema.get("x-kubernetes-list-type"), tuple(schema.get("x-kubernetes-list-map-keys") or ())
    strategies = (schema.get("x-kubernetes-patch-strategy") or "").split(",")
    patch_key = schema.get("x-kubernetes-patch-merge-key") or ""
    return MergeType(
        "list-map" if kind == "map" else "set" if kind == "set" else "leaf",
        item=item,
        keys=keys,
        key_defaults={key: value for key, value in _KEY_DEFAULTS.items() if key in keys},
        patch_key=patch_key if "merge" in strategies else "",
        retain_keys="retainKeys" in strategies,
        patch_merges="merge" in strategies and not patch_key,
    )
