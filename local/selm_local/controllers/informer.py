"""A controller's plumbing: a live cache of one resource, and a queue of keys to look at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import Resource
from selm_local.controllers.objects import Obj, meta, name_of, namespace_of

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""
OnChange = Callable[[Obj | None, Obj | None], None]
RETRY_SECONDS = (0.05, 30.0)
_log = logging.getLogger(__name__)


class Informer:
    """The current objects of a resource, and a call for each change: (None, new), (old, new) or (old, None)."""

    def __init__(self, registry: Registry, resource: Resource, on_change: OnChange | None = None) -> None:
        self._registry = registry
        self._resource = resource
        self._on_change = on_change
        self.objects: dict[Key, Obj] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Follow the resource for ever; after a lost watch it lists again and reports what it missed."""
        while True:
            items, version = await self._registry.list(self._resource)
            present = {(namespace_of(one), name_of(one)) for one in items}
            for key in [key for key in self.objects if key not in present]:
                self._set(key, None)
            for one in items:
                self._set((namespace_of(one), name_of(one)), one)
            self.synced.set()
            async for event in self._registry.watch(self._resource, resource_version=version):
                if event.type == "ERROR":
                    break
                if event.type != "BOOKMARK":
                    one = event.object
                    self._set((namespace_of(one), name_of(one)), None if event.type == "DELETED" else one)
            await asyncio.sleep(RETRY_SECONDS[0])

    def _set(self, key: Key, new: Obj | None) -> None:
        old = self.objects.get(key)
        if old is not None and new is not None and meta(old)["uid"] != meta(new)["uid"]:
            self._set(key, None)
            old = None
        if new is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = new
        changed = (old or {}).get("metadata", {}).get("resourceVersion") != (new or {}).get("metadata", {}).get(
            "resourceVersion"
        )
        if self._on_change is not None and changed:
            self._on_change(old, new)


class WorkQueue:
    """Keys to be handled: each at most once at a time, coalesced, with back-off per key after an error.

    handle: gets a key; returns seconds after which to look again, or None.
    """

    def __init__(self, name: str, handle: Callable[[Key], Awaitable[float | None]]) -> None:
        self._name = name
        self._handle = handle
        self._pending: dict[Key, None] = {}
        self._ready = asyncio.Event()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        self._pending[key] = None
        self._ready.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at the key again later; an earlier appointment stays."""
        loop = asyncio.get_running_loop()
        old = self._timers.get(key)
        if old is not None and not old.cancelled() and old.when() <= loop.time() + seconds:
            return
        if old is not None:
            old.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def run(self) -> None:
        """Handle keys for ever, one after the other."""
        while True:
            await self._ready.wait()
            while self._pending:
                key = next(iter(self._pending))
                del self._pending[key]
                await self._one(key)
            self._ready.clear()

    async def _one(self, key: Key) -> None:
        try:
            again = await self._handle(key)
        except Exception as error:  # noqa: BLE001 - one object's error must not stop the others
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            # A conflict is the ordinary course of things: somebody else wrote first.
            if isinstance(error, ApiError) and error.code == 409:
                _log.debug("%s %s/%s: %s", self._name, *key, error)
            else:
                _log.exception("%s %s/%s", self._name, *key)
            self.add_after(key, min(RETRY_SECONDS[0] * 2**failures, RETRY_SECONDS[1]))
            return
        self._failures.pop(key, None)
        if again is not None:
            self.add_after(key, again)
