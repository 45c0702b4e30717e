"""Lists as wholes: how many entries they have, and that none is there twice.

pydantic counts valid entries only and stops at the first too many, so what stands in the object is looked at here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from annotated_types import MaxLen, MinLen

from selm_operator.api.base import ApiModel, ListSet
from selm_operator.api.field_errors import FieldError
from selm_operator.api.inspection import FieldNode, fields_of


def entry_errors(model: type[ApiModel], data: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """What is wrong with the lists of a group and beneath it; values of other types are passed over."""
    for node in fields_of(model):
        value, here = data.get(node.alias), f"{path}.{node.alias}"
        if node.is_list and isinstance(value, list):
            yield from _count_errors(node, len(value), here)
            yield from _repeated(node, value, here)
            if node.model:
                for index, item in enumerate(value):
                    if isinstance(item, dict):
                        yield from entry_errors(node.model, item, f"{here}[{index}]")
        elif isinstance(value, dict) and node.model:
            yield from entry_errors(node.model, value, here)


def _count_errors(node: FieldNode, count: int, path: str) -> Iterator[FieldError]:
    for bound in node.info.metadata:
        if isinstance(bound, MinLen) and count < bound.min_length:
            yield FieldError(path, f"must have at least {bound.min_length} entries; found {count}")
        elif isinstance(bound, MaxLen) and count > bound.max_length:
            words = f"must have at most {bound.max_length} entries; found {count}"
            yield FieldError(path, words, "FieldValueTooMany")


def _repeated(node: FieldNode, items: list[Any], path: str) -> Iterator[FieldError]:
    seen: list[str] = []
    for index, identity in enumerate(_identities(node, items)):
        text = json.dumps(identity, sort_keys=True)
        if seen.count(text) == 1:  # told once for each value, as the API server does
            words = f"`{node.key}` must be unique in the list" if node.key else "entries must be unique"
            yield FieldError(f"{path}[{index}]", f"{words}; found {text} again", "FieldValueDuplicate")
        seen.append(text)


def _identities(node: FieldNode, items: list[Any]) -> list[Any]:
    """What tells the entries apart; nothing for atomic lists, and where an entry is no mapping, which is told elsewhere.

    Entries that lack the key are alike, as in the API server.
    """
    if isinstance(node.list_kind, ListSet):
        return items
    if node.key is None or not all(item is None or isinstance(item, dict) for item in items):
        return []
    return [item.get(node.key) if item else None for item in items]
