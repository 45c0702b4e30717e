"""The garbage collector's loop: looks at all objects whenever one with owners or finalizers changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import EVENTS
from selm_local.apiserver.storage import Change
from selm_local.controllers.collection import Action, Item, collect, describe
from selm_local.controllers.objects import is_deleting, meta, name_of, namespace_of, parse_time, uid_of

DEBOUNCE_SECONDS = 0.05
RESYNC_SECONDS = 30.0
EVENT_LIFETIME = timedelta(hours=1)
_log = logging.getLogger(__name__)


class GarbageCollector:
    """Deletes what nobody owns any more, and events that are an hour old."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._registry = registry
        self._clock = clock
        self._wake = asyncio.Event()
        before = registry.storage.on_change

        def on_change(change: Change) -> None:
            before(change)
            obj = change.new.object
            if change.type == "DELETED" or is_deleting(obj) or meta(obj).get("ownerReferences"):
                self._wake.set()

        registry.storage.on_change = on_change

    async def run(self) -> None:
        while True:
            self._wake.clear()
            # Every effect may make room for the next: until nothing is left to do.
            while actions := self._decide():
                if not await self._carry_out(actions):
                    break
            await self._expire_events()
            try:
                await asyncio.wait_for(self._wake.wait(), RESYNC_SECONDS)
            except TimeoutError:
                continue
            await asyncio.sleep(DEBOUNCE_SECONDS)

    def _decide(self) -> list[Action]:
        catalog, storage = self._registry.catalog, self._registry.storage
        items = (Item(resource, one.object) for resource in catalog.stored() for one in storage.all(resource.storage))
        return collect(items, catalog.of_kind)

    async def _carry_out(self, actions: list[Action]) -> bool:
        """Carry out all actions; False where one failed or changed nothing, so that the loop takes a rest."""
        fine = True
        for action in actions:
            item = action.item
            namespace = namespace_of(item.obj) or None
            name, uid = name_of(item.obj), uid_of(item.obj)
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
                if error.code != 409:
                    _log.warning("%s: %s", describe(action), error)
                    fine = False
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
