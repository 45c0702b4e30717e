"""Lists of type set and map hold each item, or key, once.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype.
"""

from __future__ import annotations

from selm_local.apiserver.schema import errors
from selm_local.apiserver.schema.errors import FieldError, child, index
from selm_local.apiserver.schema.jsonvalue import Json, canonical
from selm_local.apiserver.schema.node import Node


def validate(node: Node, value: Json, path: str = "") -> list[FieldError]:
    """A Duplicate error for the second occurrence of each item (set) or key (map), at every depth."""
    if isinstance(value, dict):
        found: list[FieldError] = []
        for name, item in value.items():
            if name in node.properties:
                found += validate(node.properties[name], item, child(path, name))
            elif node.additional is not None:
                found += validate(node.additional, item, f"{path}[{name}]")
        return found
    if not isinstance(value, list):
        return []
    found = []
    if node.list_type == "set":
        found += _duplicates(value, path)
    elif node.list_type == "map":
        wrong = next((i for i, item in enumerate(value) if item is not None and not isinstance(item, dict)), None)
        if wrong is not None:
            return [errors.invalid(index(path, wrong), value[wrong], "must be an object for an array of list-type map")]
        keys = [{key: item[key] for key in node.list_keys if key in item} if item else {} for item in value]
        found += _duplicates(keys, path)
    if node.items is not None:
        for i, item in enumerate(value):
            found += validate(node.items, item, index(path, i))
    return found


def _duplicates(values: list[Json], path: str) -> list[FieldError]:
    seen: dict[str, int] = {}
    found = []
    for i, value in enumerate(values):
        text = canonical(value)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            found.append(errors.duplicate(index(path, i), value))
    return found
