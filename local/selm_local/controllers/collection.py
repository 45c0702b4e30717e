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
    everything = list(items)
    by_uid = {uid_of(item.obj): item for item in everything}
    dependents: dict[str, list[Item]] = {}
    for item in everything:
        for reference in item.owners:
            dependents.setdefault(reference["uid"], []).append(item)
    actions: list[Action] = []
    for item in everything:
        own = dependents.get(uid_of(item.obj), [])
        if is_deleting(item.obj):
            actions += _finish_deletion(item, own)
        elif item.owners:
            actions += _judge(item, own, by_uid, served)
    return actions


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
