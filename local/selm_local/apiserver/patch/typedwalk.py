"""Walks over values by their merge type: the set of their fields, differences, merging, removal.

Source: sigs.k8s.io/structured-merge-diff/typed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from selm_local.apiserver.patch.fieldset import FieldSet, Path, of_field, of_key, of_value
from selm_local.apiserver.patch.mergetypes import MergeType
from selm_local.apiserver.schema.jsonvalue import Json, json_equal
from selm_local.apiserver.schema.node import ABSENT


class Untypable(Exception):
    """A value that does not fit its merge type; the text begins with the path."""


def element_of(type_: MergeType, item: Json) -> str:
    """The path element of an item of a list. ValueError where a key is missing."""
    if type_.kind == "set":
        return of_value(item)
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    key = {}
    for name in type_.keys:
        value = item.get(name, type_.key_defaults.get(name, ABSENT))
        if value is not ABSENT:
            key[name] = value
    if not key:
        raise ValueError(f"associative list with keys has an element that omits all key fields {list(type_.keys)}")
    return of_key(key)


def _items(type_: MergeType, value: Json) -> dict[str, Json]:
    """The items of a list by element, the first of equal ones. Items without keys are left out."""
    found: dict[str, Json] = {}
    for item in value if isinstance(value, list) else []:
        try:
            found.setdefault(element_of(type_, item), item)
        except ValueError:
            continue
    return found


def _is_granular(type_: MergeType, value: Json) -> bool:
    """Whether a value is walked into; what is not of its type's form is a leaf."""
    if type_.kind in ("struct", "map"):
        return isinstance(value, dict)
    return type_.kind in ("list-map", "set") and isinstance(value, list)


def check(type_: MergeType, value: Json, path: str = "") -> None:
    """Untypable where an applied object has undeclared fields, or twice the same key in a list."""
    if type_.kind in ("struct", "map") and isinstance(value, dict):
        for name, item in value.items():
            below = type_.child(name)
            if below is None:
                raise Untypable(f"{path}.{name}: field not declared in schema")
            check(below, item, f"{path}.{name}")
    elif type_.kind in ("list-map", "set") and isinstance(value, list):
        seen = set()
        for i, item in enumerate(value):
            try:
                element = element_of(type_, item)
            except ValueError as error:
                raise Untypable(f"{path}: element {i}: {error}") from None
            if element in seen:
                raise Untypable(f"{path}: duplicate entries for key [{element[2:]}]")
            seen.add(element)
            check(type_.item_type(), item, f"{path}[{element[2:]}]")


def field_set(type_: MergeType, value: Json) -> FieldSet:
    """The fields that a value says something about: its leaves, the items of its lists, the keys of its maps."""
    result = FieldSet()
    _collect(type_, value, (), result)
    return result


def _collect(type_: MergeType, value: Json, path: Path, into: FieldSet) -> None:
    if not _is_granular(type_, value):
        if value is not None or type_.kind == "leaf":
            into.insert(path)
        return
    if isinstance(value, dict):
        for name, item in value.items():
            below = type_.child(name)
            where = (*path, of_field(name))
            _collect(below or MergeType("leaf"), item, where, into)
            if item is None or item == {} or type_.kind == "map":
                into.insert(where)
        return
    for element, item in _items(type_, value).items():
        where = (*path, element)
        if type_.kind == "list-map":
            _collect(type_.item_type(), item, where, into)
        into.insert(where)


@dataclass
class Comparison:
    """How a new value differs from an old one."""

    added: FieldSet = field(default_factory=FieldSet)
    modified: FieldSet = field(default_factory=FieldSet)
    removed: FieldSet = field(default_factory=FieldSet)

    def without(self, fields: frozenset[str]) -> Comparison:
        return Comparison(self.added.without(fields), self.modified.without(fields), self.removed.without(fields))


def compare(type_: MergeType, old: Any, new: Any) -> Comparison:
    """The differences between two objects of a type (ABSENT: there is none)."""
    result = Comparison()
    _compare(type_, old, new, (), result)
    return result


def _compare(type_: MergeType, old: Any, new: Any, path: Path, into: Comparison) -> None:
    present = [value for value in (old, new) if value is not ABSENT and value is not None]
    granular = bool(present) and all(_is_granular(type_, value) for value in present) and any(present)
    if not granular:
        if old is ABSENT:
            into.added.insert(path)
        elif new is ABSENT:
            into.removed.insert(path)
        elif not json_equal(old, new):
            into.modified.insert(path)
        return
    if type_.kind in ("struct", "map"):
        left, right = old if isinstance(old, dict) else {}, new if isinstance(new, dict) else {}
        for name in [*left, *(name for name in right if name not in left)]:
            below = type_.child(name) or MergeType("leaf")
            _compare(below, left.get(name, ABSENT), right.get(name, ABSENT), (*path, of_field(name)), into)
    else:
        left, right = _items(type_, old), _items(type_, new)
        for element in [*left, *(element for element in right if element not in left)]:
            _compare(type_.item_type(), left.get(element, ABSENT), right.get(element, ABSENT), (*path, element), into)
    if old is ABSENT:
        into.added.insert(path)
    elif new is ABSENT:
        into.removed.insert(path)


def merge(type_: MergeType, live: Any, applied: Any) -> Any:
    """`live` with `applied` merged into it: leaves replaced, items of lists matched by key or value."""
    if applied is ABSENT:
        return copy.deepcopy(live)
    if live is ABSENT or live is None or not (_is_granular(type_, live) and _is_granular(type_, applied)):
        return copy.deepcopy(applied)
    if isinstance(live, dict):
        result = {}
        for name in [*live, *(name for name in applied if name not in live)]:
            below = type_.child(name) or MergeType("leaf")
            result[name] = merge(below, live.get(name, ABSENT), applied.get(name, ABSENT))
        return result
    left, right = _items(type_, live), _items(type_, applied)
    item = type_.item_type() if type_.kind == "list-map" else MergeType("leaf")
    return [
        merge(item, left.get(element, ABSENT), right.get(element, ABSENT))
        for element in _order(list(left), list(right))
    ]


def _order(left: list[str], right: list[str]) -> list[str]:
    """Both lists in one: what is applied in its order, what is live only before what it stood before."""
    known, wanted = set(left), set(right)
    shared = [element for element in right if element in known]
    result: list[str] = []
    i = j = next_shared = 0
    while i < len(left) or j < len(right):
        if i < len(left) and j < len(right):
            if left[i] == right[j]:
                result.append(left[i])
                i, j, next_shared = i + 1, j + 1, next_shared + 1
                continue
            expected = shared[next_shared] if next_shared < len(shared) else None
            if left[i] in wanted and left[i] != expected:
                i += 1  # a shared item, but not the one whose turn it is
                continue
        if i < len(left) and left[i] not in wanted:
            result.append(left[i])
            i += 1
        elif j < len(right):
            result.append(right[j])
            if next_shared < len(shared) and shared[next_shared] == right[j]:
                next_shared += 1
            j += 1
        else:
            i += 1
    return result


def remove(type_: MergeType, value: Json, fields: FieldSet) -> Json:
    """`value` without the fields of a set. What loses all it had, but is not of the set itself, stays, empty."""
    if not fields or not _is_granular(type_, value):
        return value
    if isinstance(value, dict):
        result = {}
        for name, item in value.items():
            element = of_field(name)
            if element not in fields.members:
                result[name] = remove(type_.child(name) or MergeType("leaf"), item, fields.beneath(element))
        return result
    kept_items = []
    for item in value:
        element = element_of(type_, item)
        if element not in fields.members:
            kept_items.append(remove(type_.item_type(), item, fields.beneath(element)))
    return kept_items
