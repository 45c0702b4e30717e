"""Which old value belongs to a new one, so that what was invalid before and did not change may stay (ratcheting).

Source: k8s.io/apiserver/pkg/cel/common (CorrelatedObject); CRDValidationRatcheting is generally available since 1.33.
"""

from __future__ import annotations

from typing import Any

from selm_local.apiserver.schema.jsonvalue import Json
from selm_local.apiserver.schema.node import ABSENT, Node, list_key


def old_property(node: Node, old: Json, name: str) -> Any:
    """The old value of property `name`, or ABSENT where objects of `node` cannot be correlated."""
    if not isinstance(old, dict) or node.map_type == "atomic":
        return ABSENT
    return old.get(name, ABSENT)


class OldItems:
    """The old items of a list, found by a new item: by key in lists of type map; by no means in the others."""

    def __init__(self, node: Node, old: Json) -> None:
        self._node = node
        self._by_key: dict[tuple[Any, ...], Json] = {}
        if node.list_type == "map" and isinstance(old, list):
            for item in old:
                key = list_key(item, node.list_keys, node.items)
                if key is not None:
                    self._by_key.setdefault(key, item)

    def find(self, item: Json) -> Any:
        """The old item with the same key, or ABSENT."""
        key = list_key(item, self._node.list_keys, self._node.items) if self._by_key else None
        return ABSENT if key is None else self._by_key.get(key, ABSENT)
