"""Events of the cluster's own controllers, deduplicated: the same event again raises the count of the first."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import EVENTS
from selm_local.controllers.objects import Obj, format_time, meta, name_of, namespace_of, uid_of

CACHE_LIMIT = 4096
LIFETIME_SECONDS = 3600
MESSAGE_LIMIT = 1024
_log = logging.getLogger(__name__)


class EventRecorder:
    """Writes core/v1 Events about objects, as one component."""

    def __init__(
        self, registry: Registry, component: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._registry = registry
        self._component = component
        self._clock = clock
        self._seen: OrderedDict[str, tuple[int, datetime]] = OrderedDict()

    async def record(self, about: Obj, type_: str, reason: str, message: str) -> None:
        """Record one event. An event that cannot be written (its namespace is going) is logged and dropped.

        Args:
            about: the object, with apiVersion and kind. type_: Normal or Warning.
        """
        message = message[:MESSAGE_LIMIT]
        namespace = namespace_of(about) or "default"
        name = self._name(about, type_, reason, message)
        now = self._clock()
        count, since = self._seen.get(name, (0, now))
        if (now - since).total_seconds() > LIFETIME_SECONDS:
            count = 0
        try:
            if count and await self._again(namespace, name, count + 1, now):
                count += 1
            else:
                await self._first(about, namespace, name, type_, reason, message, now)
                count = 1
        except ApiError as error:
            _log.info("event %s about %s/%s not written: %s", reason, namespace, name_of(about), error)
            return
        self._seen[name] = (count, now)
        self._seen.move_to_end(name)
        if len(self._seen) > CACHE_LIMIT:
            self._seen.popitem(last=False)

    async def _again(self, namespace: str, name: str, count: int, now: datetime) -> bool:
        try:
            change = {"count": count, "lastTimestamp": format_time(now)}
            await self._registry.patch(EVENTS, namespace, name, change)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return True

    async def _first(
        self, about: Obj, namespace: str, name: str, type_: str, reason: str, message: str, now: datetime
    ) -> None:
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": name_of(about),
                "namespace": namespace_of(about),
                "uid": uid_of(about),
                "resourceVersion": meta(about).get("resourceVersion", ""),
            },
            "type": type_,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": format_time(now),
            "lastTimestamp": format_time(now),
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._component,
        }
        try:
            await self._registry.create(EVENTS, namespace, event)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # From before a restart of this process: what it counted is in the object.
            old = await self._registry.get(EVENTS, namespace, name)
            change = {"count": int(old.get("count") or 1) + 1, "lastTimestamp": format_time(now)}
            await self._registry.patch(EVENTS, namespace, name, change)

    def _name(self, about: Obj, type_: str, reason: str, message: str) -> str:
        text = "\0".join((self._component, uid_of(about), type_, reason, message))
        return f"{name_of(about)[:230]}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
