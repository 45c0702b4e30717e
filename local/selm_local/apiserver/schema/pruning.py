"""Unknown fields: dropped, and named for strict requests.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning and .../objectmeta.
"""

from __future__ import annotations

from typing import Any

from selm_local.apiserver.schema.errors import child, index
from selm_local.apiserver.schema.jsonvalue import Json
from selm_local.apiserver.schema.node import Node

OBJECT_META: dict[str, Any] = {
    **dict.fromkeys(
        [
            "name",
            "generateName",
            "namespace",
            "selfLink",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "labels",
            "annotations",
            "finalizers",
        ]
    ),
    "ownerReferences": dict.fromkeys(["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"]),
    "managedFields": dict.fromkeys(
        ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"]
    ),
}
"""Fields of metav1.ObjectMeta; a nested table says the fields of a list's items."""


def prune(node: Node, value: Json, *, is_root: bool = True) -> tuple[Json, list[str]]:
    """`value` without the fields that `node` does not declare, and the paths of those dropped, sorted.

    At the root (and in embedded resources) apiVersion, kind and metadata are known whatever the schema says.
    """
    unknown: list[str] = []
    pruned = _prune(node, value, "", is_root, unknown)
    return pruned, sorted(unknown)


def _prune(node: Node, value: Json, path: str, is_root: bool, unknown: list[str]) -> Json:
    if isinstance(value, dict):
        resource = is_root or node.embedded
        result: dict[str, Json] = {}
        for name, item in value.items():
            where = child(path, name)
            if resource and name in ("apiVersion", "kind"):
                result[name] = item
            elif resource and name == "metadata":
                result[name] = _prune_meta(OBJECT_META, item, where, unknown)
            elif name in node.properties:
                result[name] = _prune(node.properties[name], item, where, False, unknown)
            elif node.additional is not None:
                result[name] = _prune(node.additional, item, where, False, unknown)
            elif node.preserve_unknown or node.open:
                result[name] = item
            else:
                unknown.append(where)
        return result
    if isinstance(value, list):
        if node.items is None:
            # Of an undeclared list nothing is known: with preserve-unknown-fields it stays, else its items are emptied.
            return value if node.preserve_unknown else [_prune(_EMPTY, v, path, False, unknown) for v in value]
        items = node.items
        return [_prune(items, item, index(path, i), False, unknown) for i, item in enumerate(value)]
    return value


def _prune_meta(fields: dict[str, Any], value: Json, path: str, unknown: list[str]) -> Json:
    if not isinstance(value, dict):
        return value
    result: dict[str, Json] = {}
    for name, item in value.items():
        where = child(path, name)
        if name not in fields:
            unknown.append(where)
            continue
        nested = fields[name]
        if nested and isinstance(item, list):
            item = [_prune_meta(nested, entry, index(where, i), unknown) for i, entry in enumerate(item)]
        result[name] = item
    return result


_EMPTY = Node(source={})
