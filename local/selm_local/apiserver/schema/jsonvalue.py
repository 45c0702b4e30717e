"""Equality and kinds of JSON values, where Python's own rules differ from Kubernetes' (True == 1, 1 == 1.0)."""

from __future__ import annotations

import json
from typing import Any

Json = Any
"""A plain JSON value: dict, list, str, int, float, bool or None."""


def json_equal(left: Json, right: Json) -> bool:
    """Deep equality as Go's reflect.DeepEqual sees decoded JSON: types count, the order of keys does not."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(json_equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return bool(left == right)


def canonical(value: Json) -> str:
    """A string that is equal for equal values (`json_equal`), usable as a key."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: Json) -> bool:
    """An integer, or a float without a fraction, which JSON schema counts as one."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def type_name(value: Json) -> str:
    """The JSON schema type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def number_text(value: float) -> str:
    """A number as Go prints it: 3 for 3.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else repr(value)
