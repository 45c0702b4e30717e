"""Defaults of a structural schema.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting (Default, PruneNonNullableNullsWithoutDefaults).
"""

from __future__ import annotations

import copy

from selm_local.apiserver.schema.jsonvalue import Json
from selm_local.apiserver.schema.node import ABSENT, Node


def default(node: Node, value: Json) -> Json:
    """`value` with defaults filled in, a new value; `node` is its schema.

    A default applies where the field is absent, or null though not nullable, in an object that exists (or that a
    default of its own brings into being). A null that may not be and has no default is dropped from objects.
    """
    if isinstance(value, dict):
        result: dict[str, Json] = {}
        for name, item in value.items():
            schema = node.child(name)
            if schema is None:
                result[name] = item
            elif item is not None or schema.nullable:
                result[name] = default(schema, item)
            elif schema.default is not ABSENT:
                result[name] = default(schema, copy.deepcopy(schema.default))
        for name, schema in node.properties.items():
            if name not in value and schema.default is not ABSENT:
                result[name] = default(schema, copy.deepcopy(schema.default))
        return result
    if isinstance(value, list) and node.items is not None:
        items = node.items
        return [_item(items, item) for item in value]
    return value


def _item(schema: Node, item: Json) -> Json:
    if item is None and not schema.nullable and schema.default is not ABSENT:
        item = copy.deepcopy(schema.default)
    return default(schema, item)
