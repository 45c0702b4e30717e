"""How values of a kind merge: which lists are maps or sets, which maps and lists change as one.

Source: sigs.k8s.io/structured-merge-diff (schema) and the markers listType, listMapKey, mapType, patchStrategy and
patchMergeKey of Kubernetes' own types, of which `builtin` has a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from selm_local.apiserver.schema.node import ABSENT, Node

if TYPE_CHECKING:
    from selm_local.apiserver.schema.custom import CustomSchema

Kind = Literal["leaf", "struct", "map", "list-map", "set"]


@dataclass(frozen=True)
class MergeType:
    """How one value merges.

    leaf: as one (scalars, atomic lists and maps). struct: by declared fields; `other` types undeclared ones, None
    refuses them. map: by key, values of type `item`. list-map: by the `keys` of its items, of type `item`, with
    `key_defaults` for absent keys. set: by value.
    For strategic merge patches: `patch_key` the one key that items merge by, `retain_keys` where a patch may say which
    fields stay, `patch_merges` where a list of scalars gains items instead of being replaced.
    """

    kind: Kind
    fields: Mapping[str, Callable[[], MergeType]] = field(default_factory=dict)
    other: Callable[[], MergeType] | None = None
    item: Callable[[], MergeType] | None = None
    keys: tuple[str, ...] = ()
    key_defaults: Mapping[str, Any] = field(default_factory=dict)
    patch_key: str = ""
    retain_keys: bool = False
    patch_merges: bool = False

    def child(self, name: str) -> MergeType | None:
        """The type of field or key `name`; None where a struct does not declare it."""
        if self.kind == "map":
            return self.item() if self.item is not None else LEAF
        declared = self.fields.get(name)
        if declared is not None:
            return declared()
        return self.other() if self.other is not None else None

    def item_type(self) -> MergeType:
        return self.item() if self.item is not None else LEAF


LEAF = MergeType("leaf")


def undeclared() -> MergeType:
    """A value of which nothing is said: objects merge by field, lists and scalars are replaced."""
    return _UNDECLARED


_UNDECLARED = MergeType("struct", other=undeclared)


def of_leaf() -> MergeType:
    return LEAF


def merge_type_of(schema: CustomSchema) -> MergeType:
    """How objects of a custom kind merge: its schema, with Kubernetes' metadata."""
    # The table of built-in kinds needs this module.
    from selm_local.apiserver.patch.builtin import object_meta

    root = _of_node(schema.root)
    fields = {**root.fields, "apiVersion": of_leaf, "kind": of_leaf, "metadata": object_meta}
    return MergeType("struct", fields=fields, other=root.other)


def _of_node(node: Node) -> MergeType:
    if node.int_or_string or node.type not in ("object", "array"):
        return _UNDECLARED if node.preserve_unknown and not node.type else LEAF
    if node.type == "array":
        return _of_list(node)
    if node.map_type == "atomic":
        return LEAF
    if node.additional is not None:
        additional = _of_node(node.additional)
        return MergeType("map", item=lambda: additional)
    if node.embedded:
        return MergeType("struct", fields=_fields(node) | _EMBEDDED, other=undeclared)
    if not node.declares_properties:
        # Neither properties nor additionalProperties: anything, or, where unknown fields are dropped, nothing.
        return _UNDECLARED if node.preserve_unknown or node.open else MergeType("struct")
    return MergeType("struct", fields=_fields(node), other=undeclared if node.preserve_unknown else None)


_EMBEDDED: dict[str, Callable[[], MergeType]] = {"apiVersion": of_leaf, "kind": of_leaf, "metadata": undeclared}


def _fields(node: Node) -> dict[str, Callable[[], MergeType]]:
    built = {name: _of_node(child) for name, child in node.properties.items()}
    return {name: (lambda type_=type_: type_) for name, type_ in built.items()}  # type: ignore[misc]


def _of_list(node: Node) -> MergeType:
    if node.list_type == "set":
        return MergeType("set")
    if node.list_type != "map" or node.items is None:
        return LEAF
    items = node.items
    item = _of_node(items)
    defaults = {
        key: items.properties[key].default
        for key in node.list_keys
        if key in items.properties and items.properties[key].default is not ABSENT
    }
    return MergeType("list-map", item=lambda: item, keys=node.list_keys, key_defaults=defaults)
