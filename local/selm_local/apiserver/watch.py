"""Watches: fan-out of committed changes, replay of history, selectors' edges, bookmarks.

An object that begins to match a selector is ADDED, one that ceases to match is DELETED (with its new state's
version), as in the real watch cache.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from selm_local.apiserver.errors import ApiError, gone
from selm_local.apiserver.selectors import EVERYTHING, Selector
from selm_local.apiserver.storage import Change, Compacted, Object, Storage, Stored, encode

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
BOOKMARK_SECONDS = 60.0
# A consumer this far behind is cut off with 410 and must list again: memory stays bounded.
BACKLOG = 10_000
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class WatchEvent:
    """type: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR (object: v1.Status). version: the change's resourceVersion."""

    type: EventType
    raw: bytes
    version: int

    @classmethod
    def of(cls, kind: EventType, obj: Object, version: int) -> WatchEvent:
        return cls(kind, encode(obj), version)

    @cached_property
    def object(self) -> Object:
        """The object, parsed for this event alone: its receiver may change it."""
        parsed: Object = json.loads(self.raw)
        return parsed


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects a watch or list is about. name: the only one that can match, where a selector says it."""

    storage: str
    namespace: str | None = None
    labels: Selector = EVERYTHING
    fields: Callable[[Stored], bool] | None = None
    name: str | None = None

    def find(self, storage: Storage, after: tuple[str, str] = ("", "")) -> Iterator[Stored]:
        """The live objects that match, in order, beginning behind `after`; what an index knows is not searched for."""
        table = storage.table(self.storage)
        if self.name is not None and self.namespace is not None:
            one = table.get(self.namespace, self.name)
            found: Iterable[Stored] = [one] if one is not None and (one.namespace, one.name) > after else []
        else:
            labelled = table.labelled(self.labels.wanted(), self.namespace, after) if self.labels else None
            found = table.ordered(self.namespace, after) if labelled is None else labelled
        return (stored for stored in found if self.matches(stored))

    def matches(self, stored: Stored) -> bool:
        if self.namespace is not None and stored.namespace != self.namespace:
            return False
        if self.labels and not self.labels.matches(stored.labels):
            return False
        return self.fields is None or self.fields(stored)

    def event(self, change: Change) -> WatchEvent | None:
        """How a watcher with this filter sees the change."""
        if self.namespace is not None and change.new.namespace != self.namespace:
            return None
        before = change.old is not None and self.matches(change.old)
        if change.type == "DELETED":
            return WatchEvent("DELETED", change.new.raw, change.version) if before else None
        after = self.matches(change.new)
        if after:
            return WatchEvent("MODIFIED" if before else "ADDED", change.new.raw, change.version)
        if before and change.old is not None:
            # The last state that matched, under the version of the change that took it out.
            last = change.old.copy()
            last["metadata"]["resourceVersion"] = str(change.version)
            return WatchEvent("DELETED", encode(last), change.version)
        return None


class Watcher:
    """One watch's queue. Filled synchronously at commit, drained by its reader."""

    def __init__(self, selected: Filter, since: int = 0):
        self.filter = selected
        self._since = since
        self._events: deque[WatchEvent] = deque()
        self._ready = asyncio.Event()
        self._closed = False

    def push(self, event: WatchEvent) -> None:
        if self._closed or 0 < event.version <= self._since:
            return
        if len(self._events) >= BACKLOG:
            self._events.clear()
            event = error_event(gone("the watch fell too far behind; list again"))
            self._closed = True
        self._events.append(event)
        self._ready.set()

    def push_always(self, event: WatchEvent) -> None:
        """Beside the filter and the version to start from: bookmarks."""
        self._events.append(event)
        self._ready.set()

    def close(self) -> None:
        self._closed = True
        self._ready.set()

    async def next(self, timeout: float | None) -> WatchEvent | None:
        """The next event; None when `timeout` seconds passed or the watch was closed (see `done`)."""
        if not self._events and not self._closed:
            self._ready.clear()
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
                async with asyncio.timeout(timeout):
                    await self._ready.wait()
            except TimeoutError:
                return None
        return self._events.popleft() if self._events else None

    def take(self) -> list[WatchEvent]:
        """All that waits now, so that a reader can write it in one go."""
        taken = list(self._events)
        self._events.clear()
        return taken

    @property
    def done(self) -> bool:
        return self._closed and not self._events


def error_event(error: ApiError) -> WatchEvent:
    return WatchEvent("ERROR", encode(error.status()), 0)


def bookmark(kind: str, api_version: str, version: int, *, initial_end: bool = False) -> WatchEvent:
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = {INITIAL_EVENTS_END: "true"}
    obj = {"kind": kind, "apiVersion": api_version, "metadata": meta}
    return WatchEvent("BOOKMARK", encode(obj), version)


class Hub:
    """All live watches, by storage key."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._watchers: dict[str, set[Watcher]] = {}
        storage.on_change = self._publish

    def watchers(self, storage: str) -> frozenset[Watcher]:
        """The live watches of a resource."""
        return frozenset(self._watchers.get(storage, ()))

    def _publish(self, change: Change) -> None:
        for watcher in tuple(self._watchers.get(change.new.storage, ())):
            event = watcher.filter.event(change)
            if event is not None:
                watcher.push(event)

    def open(self, selected: Filter, since: int | None, *, initial: bool = False) -> Watcher:
        """A watch from `since` on; None or 0: from now, after an ADDED for everything there is.

        initial: sendInitialEvents, the same also when a version was given. Registration and replay happen in one
        step of the event loop, so nothing is lost or doubled between them. Raises ApiError 410.
        """
        watcher = Watcher(selected)
        if not since or initial:
            for stored in selected.find(self._storage):
                watcher.push(WatchEvent("ADDED", stored.raw, stored.version))
        else:
            # A version from the future gets nothing until the state has come so far.
            watcher = Watcher(selected, since)
            try:
                for change in self._storage.changes_since(since, selected.storage):
                    event = selected.event(change)
                    if event is not None:
                        watcher.push(event)
            except Compacted as e:
                raise gone(f"too old resource version: {since} ({e.floor})") from None
        self._watchers.setdefault(selected.storage, set()).add(watcher)
        return watcher

    def drop(self, watcher: Watcher) -> None:
        self._watchers.get(watcher.filter.storage, set()).discard(watcher)
        watcher.close()

    def close_storage(self, storage: str) -> None:
        """End the watches of a resource that is no longer served."""
        for watcher in tuple(self._watchers.get(storage, ())):
            watcher.close()

    def close(self) -> None:
        for watchers in self._watchers.values():
            for watcher in tuple(watchers):
                watcher.close()

    async def stream(self, watcher: Watcher) -> AsyncIterator[WatchEvent]:
        """Events until the watch is closed; for callers inside the process."""
        try:
            while not watcher.done:
                event = await watcher.next(None)
                if event is not None:
                    yield event
        finally:
            self.drop(watcher)
