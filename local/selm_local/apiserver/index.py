"""The live objects of one resource, in order and by label, so that a list costs what it finds and not what there is."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

Key = tuple[str, str]
"""(namespace, name); lists are in this order, as a real API server's."""


class Labelled(Protocol):
    """What the index needs to know of an object."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


T = TypeVar("T", bound=Labelled)


class Table(Generic[T]):
    """A map from (namespace, name) to objects that knows their order and their labels."""

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}
        self._order: list[Key] = []
        self._labelled: dict[tuple[str, str], set[Key]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get((namespace, name))

    def put(self, one: T) -> None:
        key = (one.namespace, one.name)
        old = self._objects.get(key)
        if old is None:
            insort(self._order, key)
        elif old.labels != one.labels:
            self._unlabel(key, old)
        self._objects[key] = one
        if old is None or old.labels != one.labels:
            for label in one.labels.items():
                self._labelled.setdefault(label, set()).add(key)

    def remove(self, namespace: str, name: str) -> None:
        """Raises KeyError where it is not there."""
        key = (namespace, name)
        self._unlabel(key, self._objects.pop(key))
        del self._order[bisect_left(self._order, key)]

    def _unlabel(self, key: Key, old: T) -> None:
        for label in old.labels.items():
            keys = self._labelled.get(label)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._labelled[label]

    def ordered(self, namespace: str | None, after: Key = ("", "")) -> Iterator[T]:
        """All objects, or those of a namespace, in order, beginning behind the key `after`."""
        low, high = self._range(namespace)
        if after != ("", ""):
            low = max(low, bisect_left(self._order, (after[0], after[1] + "\0")))
        return (self._objects[key] for key in self._order[low:high])

    def count(self, namespace: str | None, after: Key = ("", "")) -> int:
        """How many `ordered` would give."""
        low, high = self._range(namespace)
        if after != ("", ""):
            low = max(low, bisect_left(self._order, (after[0], after[1] + "\0")))
        return max(high - low, 0)

    def labelled(
        self, wanted: Iterable[tuple[str, frozenset[str]]], namespace: str | None, after: Key = ("", "")
    ) -> list[T] | None:
        """In order, all objects that have one of the values under the key that the fewest objects fit.

        wanted: (label's key, allowed values) of each requirement. None where nothing is asked that the index knows.
        """
        best: set[Key] | None = None
        for key, values in wanted:
            found: set[Key] = set().union(*(self._labelled.get((key, value), ()) for value in values))
            if best is None or len(found) < len(best):
                best = found
        if best is None:
            return None
        keys = sorted(k for k in best if (namespace is None or k[0] == namespace) and k > after)
        return [self._objects[key] for key in keys]

    def _range(self, namespace: str | None) -> tuple[int, int]:
        if namespace is None:
            return 0, len(self._order)
        return bisect_left(self._order, (namespace, "")), bisect_left(self._order, (namespace + "\0", ""))
