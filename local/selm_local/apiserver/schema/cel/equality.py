"""Equality and concatenation as Kubernetes' values define them: sets and maps ignore order.

Source: k8s.io/apiserver/pkg/cel/common/values.go (Equal, Add). CEL's own operators serve every other value; calls whose
left side is a value of a schema that differs are rewritten to the functions here.
"""

from __future__ import annotations

from typing import Any, Final

from cel_expr_python import cel

from selm_local.apiserver.schema.cel.escaping import escape
from selm_local.apiserver.schema.jsonvalue import json_equal
from selm_local.apiserver.schema.node import Node, list_key

T = cel.Type
EQUAL: Final = "k8s_equal"
ADD: Final = "k8s_add"


def differs(node: Node) -> bool:
    """Whether values of `node` compare otherwise than CEL's do."""
    if node.list_type in ("set", "map") or (node.type == "object" and node.preserve_unknown):
        return True
    beneath = [*node.properties.values(), node.additional, node.items]
    return any(differs(child) for child in beneath if child is not None)


def equal(node: Node, left: Any, right: Any) -> bool:
    """Whether two converted values of `node` are equal; `left` is the one whose schema counts."""
    if isinstance(left, dict) and isinstance(right, dict):
        return _equal_maps(node, left, right)
    if isinstance(left, list) and isinstance(right, list) and node.items is not None:
        if len(left) != len(right):
            return False
        if node.list_type == "set":
            return all(any(equal(node.items, mine, item) for mine in left) for item in right)
        if node.list_type == "map":
            names = _key_names(node)
            mine = {list_key(item, names): item for item in left}
            keys = [list_key(item, names) for item in right]
            return all(
                key in mine and equal(node.items, mine[key], item) for key, item in zip(keys, right, strict=True)
            )
        return all(equal(node.items, a, b) for a, b in zip(left, right, strict=True))
    return json_equal(left, right)


def _equal_maps(node: Node, left: dict[str, Any], right: dict[str, Any]) -> bool:
    if len(left) != len(right):
        return False
    schemas = {escape(name) or name: child for name, child in node.properties.items()}
    for name, value in left.items():
        schema = schemas.get(name) if node.declares_properties else node.additional
        if schema is not None:
            if name not in right or not equal(schema, value, right[name]):
                return False
        elif name in right and not json_equal(value, right[name]):
            # Unknown fields that the other side lacks are not compared: so does the real server.
            return False
    return True


def _key_names(node: Node) -> tuple[str, ...]:
    return tuple(escape(key) or key for key in node.list_keys)


def add(node: Node, left: list[Any], right: list[Any]) -> list[Any]:
    """`left + right` of lists: a set gains what it lacks, a map's items of equal keys are replaced."""
    result = list(left)
    if node.list_type == "map":
        names = _key_names(node)
        places = {list_key(item, names): i for i, item in enumerate(left)}
        for item in right:
            place = places.get(list_key(item, names))
            if place is None:
                result.append(item)
            else:
                result[place] = item
        return result
    if node.list_type == "set":
        for item in right:
            if not any(json_equal(item, mine) for mine in result):
                result.append(item)
        return result
    return result + right


class Registry:
    """The nodes that rewritten calls name, and the functions that serve them."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def name(self, node: Node) -> str:
        """What a rewritten call passes for `node`."""
        name = str(id(node))
        self._nodes[name] = node
        return name

    def functions(self) -> list[cel.FunctionDecl]:
        def on_equal(left: Any, right: Any, name: str) -> bool:
            return equal(self._nodes[name], left, right)

        def on_add(left: list[Any], right: list[Any], name: str) -> list[Any]:
            return add(self._nodes[name], left, right)

        kinds = (T.MAP, T.LIST)
        return [
            cel.FunctionDecl(
                EQUAL,
                [
                    cel.Overload(f"{EQUAL}_{a.name()}_{b.name()}", T.DYN, [a, b, T.STRING], impl=on_equal)
                    for a in kinds
                    for b in kinds
                ],
            ),
            cel.FunctionDecl(ADD, [cel.Overload(ADD, T.DYN, [T.LIST, T.LIST, T.STRING], impl=on_add)]),
        ]
