"""CEL types declared by a schema, with the bounds that cost estimates need.

Source: k8s.io/apiserver/pkg/cel/common/schemas.go (SchemaDeclType) and k8s.io/apiserver/pkg/cel/limits.go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from selm_local.apiserver.schema.cel.escaping import escape
from selm_local.apiserver.schema.node import ABSENT, Node

Kind = Literal["bool", "int", "double", "string", "bytes", "timestamp", "duration", "dyn", "list", "map", "object"]

MAX_REQUEST_BYTES: Final = 3 * 1024 * 1024
_MAX_STRING: Final = MAX_REQUEST_BYTES - 2
_MIN_SIZE: Final[dict[Kind, int]] = {"bool": 4, "int": 1, "double": 1, "string": 2, "bytes": 2, "duration": 3, "dyn": 1}
_MIN_DATE, _MIN_DATE_TIME, _MAX_DURATION, _MAX_DATE_TIME = 12, 21, 32, 32


@dataclass(frozen=True)
class DeclType:
    """A declared type.

    `max_elements`: the most characters, items or entries, 0 where that means nothing; `min_size`: bytes of its least
    JSON, from which follows how often it can occur in a request; `fields` by identifier, `hidden` by name: those that
    no identifier can name, which are invisible to the rules above them but may have rules of their own.
    """

    kind: Kind
    node: Node
    max_elements: int = 0
    min_size: int = 1
    elem: DeclType | None = None
    fields: Mapping[str, DeclType] = field(default_factory=dict)
    hidden: Mapping[str, DeclType] = field(default_factory=dict)


_STRING_NODE: Final = Node(source={"type": "string"}, type="string")
_METADATA: Final = Node(
    source={"type": "object"},
    type="object",
    properties={"name": _STRING_NODE, "generateName": _STRING_NODE},
    declares_properties=True,
)


def with_type_and_object_meta(node: Node) -> Node:
    """`node` with apiVersion, kind, metadata.name and metadata.generateName, which rules of a resource may read."""
    properties = node.properties
    meta = properties.get("metadata")
    complete = meta is not None and all(
        name in meta.properties and meta.properties[name].type == "string" for name in ("name", "generateName")
    )
    if complete and all(name in properties and properties[name].type == "string" for name in ("apiVersion", "kind")):
        return node
    merged = {**properties, "apiVersion": _STRING_NODE, "kind": _STRING_NODE, "metadata": _METADATA}
    return dataclasses.replace(node, properties=merged, declares_properties=True)


def declare(node: Node, *, resource: bool = False) -> DeclType | None:
    """The declared type of `node`; None where rules cannot see its values (nothing is said of what they are).

    `resource`: the root of a custom or embedded resource.
    """
    if node.int_or_string:
        longest = node.source.get("maxLength")
        return DeclType("dyn", node, _MAX_STRING if longest is None else 4 * max(longest, 0))
    if resource or node.embedded:
        node = with_type_and_object_meta(node)
    if node.type == "array":
        return _list(node)
    if node.type == "object":
        return _map(node) if node.additional is not None else _object(node)
    if node.type == "string":
        return _string(node)
    if node.type == "boolean":
        return DeclType("bool", node, min_size=_MIN_SIZE["bool"])
    if node.type == "number":
        return DeclType("double", node, min_size=_MIN_SIZE["double"])
    if node.type == "integer":
        return DeclType("int", node, min_size=_MIN_SIZE["int"])
    return None


def _list(node: Node) -> DeclType | None:
    elem = declare(node.items) if node.items is not None else None
    if elem is None:
        return None
    most = node.source.get("maxItems")
    return DeclType(
        "list", node, max(most, 0) if most is not None else _MAX_STRING // (elem.min_size + 1), min_size=2, elem=elem
    )


def _map(node: Node) -> DeclType | None:
    elem = declare(node.additional) if node.additional is not None else None
    if elem is None:
        return None
    most = node.source.get("maxProperties")
    return DeclType(
        "map", node, max(most, 0) if most is not None else _MAX_STRING // (elem.min_size + 6), min_size=2, elem=elem
    )


def _object(node: Node) -> DeclType:
    fields: dict[str, DeclType] = {}
    hidden: dict[str, DeclType] = {}
    min_size = 2
    for name, schema in node.properties.items():
        declared = declare(schema)
        if declared is None:
            continue
        identifier = escape(name)
        if identifier is not None:
            fields[identifier] = declared
        else:
            hidden[name] = declared
        if name in node.required and schema.default is ABSENT:
            min_size += len(name) + declared.min_size + 4
    return DeclType("object", node, min_size=min_size, fields=fields, hidden=hidden)


def _string(node: Node) -> DeclType:
    longest = node.source.get("maxLength")
    if node.format == "byte":
        return DeclType("bytes", node, max(longest, 0) if longest is not None else _MAX_STRING, _MIN_SIZE["bytes"])
    if node.format == "duration":
        return DeclType("duration", node, _MAX_DURATION, _MIN_SIZE["duration"])
    if node.format == "date":
        return DeclType("timestamp", node, _MIN_DATE, _MIN_DATE)
    if node.format == "date-time":
        return DeclType("timestamp", node, _MAX_DATE_TIME, _MIN_DATE_TIME)
    if longest is not None:
        most = 4 * max(longest, 0)  # characters are bounded, bytes are charged
    elif node.source.get("enum"):
        most = max((len(value.encode()) for value in node.source["enum"] if isinstance(value, str)), default=0)
    else:
        most = _MAX_STRING
    return DeclType("string", node, most, _MIN_SIZE["string"])
