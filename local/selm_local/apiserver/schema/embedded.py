"""Objects within objects (x-kubernetes-embedded-resource): they must say what they are, as objects do.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from selm_local.apiserver.schema import errors, names
from selm_local.apiserver.schema.errors import FieldError, child, index
from selm_local.apiserver.schema.jsonvalue import Json
from selm_local.apiserver.schema.node import Node


def validate(node: Node, value: Json, path: str = "") -> Iterator[FieldError]:
    """Errors of apiVersion, kind and metadata of the embedded objects beneath a value (itself excepted at the root)."""
    if isinstance(value, dict):
        if node.embedded and path:
            yield from _object(value, path)
        for name, item in value.items():
            schema = node.child(name)
            if schema is not None:
                where = child(path, name) if name in node.properties else f"{path}[{name}]"
                yield from validate(schema, item, where)
    elif isinstance(value, list) and node.items is not None:
        for i, item in enumerate(value):
            yield from validate(node.items, item, index(path, i))


def _object(value: dict[str, Json], path: str) -> Iterator[FieldError]:
    for name in ("apiVersion", "kind"):
        if not value.get(name) or not isinstance(value[name], str):
            yield errors.required(f"{path}.{name}", "must not be empty")
    kind = value.get("kind")
    if isinstance(kind, str) and kind:
        for problem in names.dns1035_label(kind.lower()):
            text = f"may have mixed case, but should otherwise match: {problem}"
            yield errors.invalid(f"{path}.kind", kind, text)
    metadata = value.get("metadata")
    if metadata is not None:
        found = names.object_meta(metadata, field=f"{path}.metadata")
        yield from (error for error in found if error.reason != "FieldValueRequired")  # it need not have a name
