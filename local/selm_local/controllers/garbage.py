"""The garbage collector's loop: judges what each change touches, and now and then everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import EVENTS, Resource
from selm_local.apiserver.storage import Change
from selm_local.controllers.collection import Action, Graph, Item, describe
from selm_local.controllers.objects import Obj, is_deleting, meta, name_of, namespace_of, parse_time, uid_of

DEBOUNCE_SECONDS = 0.05
RESYNC_SECONDS = 30.0
EVENT_LIFETIME = timedelta(hours=1)
_KEPT = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp", "finalizers", "ownerReferences")
_log = logging.getLogger(__name__)


class GarbageCollector:
    """Deletes what nobody owns any more, and events that are an hour old.

    A change is judged together with its owners and dependents alone. Now and then all objects are, for what no change
    tells: a kind of owners that is served since.
    """

    def __init__(self, registry: Registry, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._registry = registry
        self._clock = clock
        self._graph = Graph()
        self._revision = -1
        self._resources: dict[str, Resource] = {}
        self._touched: dict[str, None] = {}
        self._wake = asyncio.Event()
        for resource in registry.catalog.stored():
            for stored in registry.storage.all(resource.storage):
                self._graph.put(_slim(resource, stored.object))
        before = registry.storage.on_change

        def on_change(change: Change) -> None:
            before(change)
            self._note(change)

        registry.storage.on_change = on_change

    def _note(self, change: Change) -> None:
        resource = self._resource(change.new.storage)
        if resource is None:
            return  # a custom resource that is served no more; its instances go with its definition
        new = _slim(resource, change.new.object)
        uid, gone = uid_of(new.obj), change.type == "DELETED"
        old = self._graph.get(uid)
        if gone or new.owners or is_deleting(new.obj) or (old is not None and old.owners):
            self._touched |= dict.fromkeys([*self._graph.around(new), *(self._graph.around(old) if old else ())])
            self._wake.set()
        if gone:
            self._graph.drop(uid)
        else:
            self._graph.put(new)

    def _resource(self, storage: str) -> Resource | None:
        catalog = self._registry.catalog
        if self._revision != catalog.revision:
            self._revision = catalog.revision
            self._resources = {resource.storage: resource for resource in catalog.stored()}
        return self._resources.get(storage)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        resync = loop.time()
        while True:
            if loop.time() >= resync:
                self._touched |= dict.fromkeys(self._graph.uids())
                await self._expire_events()
                resync = loop.time() + RESYNC_SECONDS
            # Every effect may make room for the next: until nothing is left to do.
            while self._touched:
                self._wake.clear()
                touched, self._touched = self._touched, {}
                actions = [
                    action for uid in touched for action in self._graph.judge(uid, self._registry.catalog.of_kind)
                ]
                if not await self._carry_out(actions):
                    break
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
                async with asyncio.timeout_at(resync):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(DEBOUNCE_SECONDS)

    async def _carry_out(self, actions: list[Action]) -> bool:
        """Carry out all actions; False where one failed or changed nothing, so that the loop takes a rest."""
        fine = True
        held: set[str] = set()
        for action in actions:
            item = action.item
            namespace = namespace_of(item.obj) or None
            name, uid = name_of(item.obj), uid_of(item.obj)
            if action.verb == "release" and uid in held:
                continue  # a dependent still names it: were it gone, the dependent would go too
            version = meta(item.obj)["resourceVersion"]
            _log.debug("%s", describe(action))
            try:
                if action.verb == "delete":
                    after = await self._registry.delete(
                        item.resource,
                        namespace,
                        name,
                        propagation=action.propagation,
                        uid=uid,
                        resource_version=version,
                    )
                else:
                    change = self._metadata_change(action)
                    change["metadata"] |= {"uid": uid, "resourceVersion": version}
                    after = await self._registry.patch(item.resource, namespace, name, change)
            except ApiError as error:
                if error.code == 404:
                    continue
                held |= action.owners
                self._touched |= dict.fromkeys([uid, *action.owners])
                fine = False  # a conflict's cause is a change, which wakes this loop
                if error.code != 409:
                    _log.warning("%s: %s", describe(action), error)
                continue
            if meta(after).get("resourceVersion") == version:
                fine = False
        return fine

    @staticmethod
    def _metadata_change(action: Action) -> dict[str, dict[str, object]]:
        found = meta(action.item.obj)
        if action.verb == "disown":
            kept = [one for one in found.get("ownerReferences") or [] if one["uid"] not in action.owners]
            return {"metadata": {"ownerReferences": kept or None}}
        left = [one for one in found.get("finalizers") or [] if one != action.finalizer]
        return {"metadata": {"finalizers": left or None}}

    async def _expire_events(self) -> None:
        oldest = self._clock() - EVENT_LIFETIME
        for stored in self._registry.storage.all(EVENTS.storage):
            event = stored.object
            last = event.get("lastTimestamp") or event.get("eventTime") or meta(event)["creationTimestamp"]
            if parse_time(last) < oldest:
                try:
                    await self._registry.delete(EVENTS, stored.namespace, stored.name)
                except ApiError as error:
                    _log.info("event %s/%s: %s", stored.namespace, stored.name, error)


def _slim(resource: Resource, obj: Obj) -> Item:
    """What garbage collection needs to know of an object: there are many, and most never change hands."""
    found = meta(obj)
    return Item(resource, {"metadata": {name: found[name] for name in _KEPT if name in found}})
