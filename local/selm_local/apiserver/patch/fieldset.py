"""Sets of field paths, as metadata.managedFields keeps them (FieldsV1).

Source: sigs.k8s.io/structured-merge-diff/fieldpath. A path is a tuple of elements in their serialised form: `f:name`
for a field, `k:{"name":"a"}` for an item of a list of type map, `v:"x"` for an item of a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from selm_local.apiserver.patch.mergetypes import MergeType

Path = tuple[str, ...]


def of_field(name: str) -> str:
    return f"f:{name}"


def of_key(key: dict[str, Any]) -> str:
    return "k:" + json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def of_value(value: Any) -> str:
    return "v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def path_text(path: Path) -> str:
    """A path as conflicts name it: `.spec.scorers[name="a"].weight`."""
    parts = []
    for element in path:
        tag, _, text = element.partition(":")
        if tag == "f":
            parts.append(f".{text}")
        elif tag == "k":
            key = json.loads(text)
            parts.append("[" + ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(key.items())) + "]")
        else:
            parts.append(f"[={text}]" if tag == "v" else f"[{text}]")
    return "".join(parts)


@dataclass
class FieldSet:
    """A set of paths: `members` end here, `children` lead on."""

    members: set[str] = field(default_factory=set)
    children: dict[str, FieldSet] = field(default_factory=dict)

    @classmethod
    def parse(cls, fields_v1: dict[str, Any]) -> FieldSet:
        """From FieldsV1. TypeError where it is no such thing."""
        result = cls()
        for element, beneath in fields_v1.items():
            if element == ".":
                continue
            if not isinstance(beneath, dict):
                raise TypeError(f"fieldsV1 has {beneath!r} at {element}")
            if not beneath or "." in beneath:
                result.members.add(element)
            child = cls.parse(beneath)
            if child:
                result.children[element] = child
        return result

    def fields_v1(self) -> dict[str, Any]:
        """To FieldsV1."""
        result: dict[str, Any] = {}
        for element in sorted(self.members | self.children.keys()):
            child = self.children.get(element)
            beneath = child.fields_v1() if child else {}
            result[element] = {".": {}, **beneath} if beneath and element in self.members else beneath
        return result

    def insert(self, path: Path) -> None:
        if len(path) == 1:
            self.members.add(path[0])
        elif path:
            self.children.setdefault(path[0], FieldSet()).insert(path[1:])

    def __bool__(self) -> bool:
        return bool(self.members) or any(self.children.values())

    def __iter__(self) -> Iterator[Path]:
        for element in sorted(self.members):
            yield (element,)
        for element in sorted(self.children):
            for rest in self.children[element]:
                yield (element, *rest)

    def beneath(self, element: str) -> FieldSet:
        """The paths that begin with `element`, without it."""
        return self.children.get(element) or FieldSet()

    def __or__(self, other: FieldSet) -> FieldSet:
        elements = self.children.keys() | other.children.keys()
        children = {element: self.beneath(element) | other.beneath(element) for element in elements}
        return FieldSet(self.members | other.members, children)

    def __and__(self, other: FieldSet) -> FieldSet:
        elements = self.children.keys() & other.children.keys()
        children = {element: self.beneath(element) & other.beneath(element) for element in elements}
        return FieldSet(self.members & other.members, {element: child for element, child in children.items() if child})

    def __sub__(self, other: FieldSet) -> FieldSet:
        children = {element: child - other.beneath(element) for element, child in self.children.items()}
        return FieldSet(self.members - other.members, {element: child for element, child in children.items() if child})

    def without(self, fields: frozenset[str]) -> FieldSet:
        """Without the top-level fields named, and all beneath them."""
        names = {of_field(name) for name in fields}
        children = {element: child for element, child in self.children.items() if element not in names}
        return FieldSet(self.members - names, children)

    def with_parents(self, type_: MergeType) -> FieldSet:
        """With every declared field that has members beneath it as a member itself, so that it can go with them."""
        members, children = set(self.members), {}
        for element, child in self.children.items():
            tag, _, name = element.partition(":")
            if tag == "f" and type_.kind == "struct" and child:
                members.add(element)
            below = type_.child(name) if tag == "f" else type_.item_type()
            children[element] = child.with_parents(below) if below is not None else child
        return FieldSet(members, children)
