"""Equality as CEL has it in Kubernetes: the order of lists that are maps or sets does not matter."""

from __future__ import annotations

import json
from typing import Any

from selm_operator.api.base import ApiModel, ListSet
from selm_operator.api.inspection import FieldNode, fields_of


def same(node: FieldNode, new: Any, old: Any) -> bool:
    """Whether a field has the same value before and after; absent (None) equals only absent.

    Unlike the API server this also sees one key of an open object swapped for another: there `==` compares the keys
    of the new object with the old one's and finds a missing one equal.
    """
    if new is None or old is None:
        return new is old
    if not node.is_list:
        return _same_value(new, old)
    if len(new) != len(old):
        return False
    if node.key is not None:
        before = {_key(item, node.key): item for item in old}
        after = {_key(item, node.key): item for item in new}
        return before.keys() == after.keys() and all(_same_value(item, before[key]) for key, item in after.items())
    if isinstance(node.list_kind, ListSet):
        return set(new) <= set(old)
    return all(map(_same_value, new, old))


def same_group(new: ApiModel, old: ApiModel) -> bool:
    """Whether every field of a group is the same before and after."""
    return all(same(node, getattr(new, node.name), getattr(old, node.name)) for node in fields_of(type(new)))


def _same_value(new: Any, old: Any) -> bool:
    if isinstance(new, ApiModel):
        return same_group(new, old)
    if isinstance(new, dict):
        return json.dumps(new, sort_keys=True) == json.dumps(old, sort_keys=True)
    return bool(new == old)


def _key(item: ApiModel, key: str) -> Any:
    return next(getattr(item, node.name) for node in fields_of(type(item)) if node.alias == key)
