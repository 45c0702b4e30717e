"""What garbage collection does: a pure function over all objects of the cluster.

Semantics of kube-controller-manager's garbage collector (pkg/controller/garbagecollector): an object goes when all
its owners are gone; `foregroundDeletion` on an owner waits for dependents that block it; `orphan` cuts them loose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from selm_local.apiserver.meta import FOREGROUND, ORPHAN
from selm_local.apiserver.resources import Resource
from selm_local.controllers.objects import Obj, is_deleting, meta, name_of, namespace_of, uid_of

Verb = Literal["delete", "disown", "release"]


@dataclass(frozen=True)
class Item:
    """One object and the resource that it is of."""

    resource: Resource
    obj: Obj

    @property
    def owners(self) -> list[Obj]:
        return meta(self.obj).get("ownerReferences") or []

    @property
    def finalizers(self) -> list[str]:
        return meta(self.obj).get("finalizers") or []

    @property
    def waits_for_dependents(self) -> bool:
        return is_deleting(self.obj) and FOREGROUND in self.finalizers


@dataclass(frozen=True)
class Action:
    """delete: with a propagation. disown: take the owners' uids out of ownerReferences. release: drop a finalizer."""

    verb: Verb
    item: Item
    propagation: str = "Background"
    owners: frozenset[str] = frozenset()
    finalizer: str = ""


def collect(items: Iterable[Item], served: Callable[[str, str], Resource | None]) -> list[Action]:
    """Decide about all objects.

    Args:
        items: every stored object once. served: the resource of an apiVersion and kind, None where it is not served
            (whether such an owner exists cannot be known, so it counts as existing).
    """
    graph = Graph()
    uids = [uid_of(item.obj) for item in map(graph.put, items)]
    return [action for uid in uids for action in graph.judge(uid, served)]


class Graph:
    """All objects by uid, and who depends on whom: what a change touches is found without looking at the rest."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, dict[str, None]] = {}

    def get(self, uid: str) -> Item | None:
        return self._items.get(uid)

    def put(self, item: Item) -> Item:
        """Add an object, or its new version."""
        uid = uid_of(item.obj)
        old = self._items.get(uid)
        if old is not None and old.owners != item.owners:
            self._cut(uid, old)
        self._items[uid] = item
        for reference in item.owners:
            self._dependents.setdefault(reference["uid"], {})[uid] = None
        return item

    def drop(self, uid: str) -> None:
        old = self._items.pop(uid, None)
        if old is not None:
            self._cut(uid, old)

    def _cut(self, uid: str, old: Item) -> None:
        for reference in old.owners:
            of_owner = self._dependents.get(reference["uid"])
            if of_owner is not None:
                of_owner.pop(uid, None)
                if not of_owner:
                    del self._dependents[reference["uid"]]

    def uids(self) -> list[str]:
        return list(self._items)

    def around(self, item: Item) -> list[str]:
        """The object itself, its owners and its dependents: whose fate a change of it may change."""
        uid = uid_of(item.obj)
        return [uid, *(reference["uid"] for reference in item.owners), *self._dependents.get(uid, ())]

    def judge(self, uid: str, served: Callable[[str, str], Resource | None]) -> list[Action]:
        """What is to be done about one object now."""
        item = self._items.get(uid)
        if item is None:
            return []
        own = [self._items[one] for one in self._dependents.get(uid, ())]
        if is_deleting(item.obj):
            return _finish_deletion(item, own)
        return _judge(item, own, self._items, served) if item.owners else []


def _finish_deletion(item: Item, dependents: list[Item]) -> list[Action]:
    uid = uid_of(item.obj)
    if ORPHAN in item.finalizers:
        cut = [Action("disown", one, owners=frozenset({uid})) for one in dependents]
        return [*cut, Action("release", item, finalizer=ORPHAN)]
    if FOREGROUND in item.finalizers and not any(_blocks(one, uid) for one in dependents):
        return [Action("release", item, finalizer=FOREGROUND)]
    return []


def _judge(
    item: Item, dependents: list[Item], by_uid: dict[str, Item], served: Callable[[str, str], Resource | None]
) -> list[Action]:
    """Whether an object with owners stays."""
    solid: list[str] = []
    dangling: list[str] = []
    waiting: list[str] = []
    for reference in item.owners:
        owner = by_uid.get(reference["uid"])
        if owner is None or not _in_reach(owner, item):
            known = served(reference["apiVersion"], reference["kind"]) is not None
            (dangling if known else solid).append(reference["uid"])
        elif owner.waits_for_dependents:
            waiting.append(reference["uid"])
        else:
            solid.append(reference["uid"])
    if solid:
        gone = frozenset(dangling + waiting)
        return [Action("disown", item, owners=gone)] if gone else []
    if waiting and dependents:
        return [Action("delete", item, propagation="Foreground")]
    if ORPHAN in item.finalizers:
        return [Action("delete", item, propagation="Orphan")]
    return [Action("delete", item, propagation="Foreground" if FOREGROUND in item.finalizers else "Background")]


def _in_reach(owner: Item, dependent: Item) -> bool:
    """Owners are cluster-scoped or in the dependent's own namespace; any other is as good as absent."""
    return not owner.resource.namespaced or namespace_of(owner.obj) == namespace_of(dependent.obj)


def _blocks(dependent: Item, owner_uid: str) -> bool:
    return any(one["uid"] == owner_uid and one.get("blockOwnerDeletion") for one in dependent.owners)


def describe(action: Action) -> str:
    """One line for the log."""
    what = f"{action.item.resource} {namespace_of(action.item.obj)}/{name_of(action.item.obj)}"
    return f"{action.verb} {what}"
