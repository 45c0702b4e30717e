"""The cluster's one object: every rule of the API, for HTTP and for the controllers alike.

Reads and writes are `async` by interface, but each is a single step of the event loop (see `storage`). Objects that
come back are the caller's own to change.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

from selm_local.apiserver import errors
from selm_local.apiserver.bootstrap import bootstrap_objects
from selm_local.apiserver.catalog import Catalog
from selm_local.apiserver.customs import Customs
from selm_local.apiserver.deletes import Deletes
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.kinds import built_in_strategy
from selm_local.apiserver.kinds.base import Strategy
from selm_local.apiserver.kinds.crds import CustomResourceDefinitions
from selm_local.apiserver.kinds.services import Services
from selm_local.apiserver.meta import now_text
from selm_local.apiserver.requests import CONTROLLER, DeleteRequest, FieldValidation, PatchType, WriteRequest, Written
from selm_local.apiserver.resources import BUILT_IN, CRDS, PODS, SERVICES, Resource
from selm_local.apiserver.schema.errors import required
from selm_local.apiserver.selectors import parse_fields, parse_labels
from selm_local.apiserver.storage import Change, Object, Storage, Stored, encode
from selm_local.apiserver.watch import Filter, Hub, Watcher, WatchEvent
from selm_local.apiserver.writes import Writes

__all__ = ["ApiError", "Registry", "WatchEvent"]

Objects = list[Object]
UPKEEP_SECONDS = 20.0
_log = logging.getLogger(__name__)


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _copied(value: Any) -> Any:
    """A JSON value of its own; writing and parsing is faster than a deep copy."""
    return json.loads(encode(value))


def _own(written: Written) -> Object:
    """A copy for the caller to change; parsing is faster than copying."""
    if written.raw is None:
        return copy.deepcopy(written.object)
    parsed: Object = json.loads(written.raw)
    return parsed


class Registry:
    """All semantics behind HTTP and behind the controllers.

    Attributes: catalog (what is served), storage and hub (for the HTTP shell), writes and deletes (the synchronous
    cores). Every method raises `ApiError`, whose `status()` is what a client of the API would get.
    """

    def __init__(self, storage: Storage, clock: Callable[[], dt.datetime] = _utc_now):
        self.storage = storage
        self.clock = clock
        self.catalog = Catalog()
        self.hub = Hub(storage)
        self.writes = Writes(storage, self.catalog, clock)
        self.deletes = Deletes(storage, self.writes.strategy, clock)
        for resource in BUILT_IN:
            self.catalog.add(built_in_strategy(resource))
        self.customs = Customs(self.catalog, storage, self.hub)
        crds = self.catalog.strategy(CRDS)
        if isinstance(crds, CustomResourceDefinitions):
            crds.stored = lambda: [s.object for s in storage.all(CRDS.storage)]
            crds.clock = clock
        services = self.catalog.strategy(SERVICES)
        if isinstance(services, Services):
            services.stored = lambda: [s.object for s in storage.all(SERVICES.storage)]
        self._publish = storage.on_change
        storage.on_change = self._changed
        self.customs.load()
        self._bootstrap()
        for stored in storage.all(CRDS.storage):
            self.customs.clean_up(stored.name)

    @classmethod
    def open(cls, path: Path | None, *, clock: Callable[[], dt.datetime] = _utc_now, window: int = 2000) -> Self:
        """The state in the SQLite file `path` (made if missing), or in memory alone where path is None."""
        return cls(Storage(path, window=window), clock)

    def close(self) -> None:
        self.hub.close()
        self.storage.close()

    async def upkeep(self) -> None:
        """Compaction and checkpoints, for ever; the server runs it as a task."""
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            self.storage.compact()
            await asyncio.to_thread(self.storage.checkpoint)

    def _bootstrap(self) -> None:
        """What every cluster has from the start. Existing objects are left as they are."""
        for resource, namespace, obj in bootstrap_objects():
            name = obj["metadata"]["name"]
            if self.storage.get(resource.storage, namespace or "", name) is None:
                self.writes.create(resource, namespace, obj, WriteRequest())

    def _changed(self, change: Change) -> None:
        """Called within every commit."""
        if change.new.storage == CRDS.storage:
            self.customs.changed(change)
        self._publish(change)
        name = self.customs.to_clean_up(change)
        if name is not None:
            # In a step of its own: the delete that asked for it is answered first, as on a real cluster.
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(self.customs.clean_up, name)

    # --- reading

    def stored(self, resource: Resource, namespace: str | None, name: str) -> Stored:
        found = self.storage.get(resource.storage, namespace or "", name)
        if found is None:
            raise errors.not_found(resource.group, resource.plural, name)
        return found

    def strategy(self, resource: Resource) -> Strategy:
        return self.writes.strategy(resource)

    def filter(
        self, resource: Resource, namespace: str | None, label_selector: str | None, field_selector: str | None
    ) -> Filter:
        strategy = self.strategy(resource)
        fields = parse_fields(field_selector, strategy.selectable)
        predicate: Callable[[Stored], bool] | None = None
        if fields:

            def predicate(stored: Stored) -> bool:
                obj = strategy.from_storage(stored.copy()) if strategy.converts else stored.object
                return fields.matches(lambda name: strategy.field_value(obj, name))

        where = namespace if resource.namespaced else namespace or ""
        return Filter(resource.storage, where, parse_labels(label_selector), predicate, fields.exact("metadata.name"))

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Raises ApiError 404 NotFound."""
        stored = self.stored(resource, namespace, name)
        return self.strategy(resource).from_storage(stored.copy())

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> tuple[Objects, str]:
        """Items in the order of namespace and name, and the resourceVersion to watch from."""
        strategy = self.strategy(resource)
        selected = self.filter(resource, namespace, label_selector, field_selector)
        items = [strategy.from_storage(s.copy()) for s in selected.find(self.storage)]
        return items, str(self.storage.version)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[WatchEvent]:
        """Events after `resource_version`; without one, an ADDED for all there is first. Endless.

        Ends when the registry closes or the resource is served no more. A consumer that falls far behind gets an
        ERROR event (410) as its last.
        """
        watcher = self.open_watch(
            resource,
            namespace,
            since=int(resource_version) if resource_version else None,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        async for event in self.hub.stream(watcher):
            yield self.convert_event(resource, event)

    def open_watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        since: int | None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        initial: bool = False,
    ) -> Watcher:
        return self.hub.open(self.filter(resource, namespace, label_selector, field_selector), since, initial=initial)

    def convert_event(self, resource: Resource, event: WatchEvent) -> WatchEvent:
        """The event in the version that `resource` is."""
        strategy = self.catalog.strategy(resource)
        if strategy is None or not strategy.converts or event.type in ("ERROR", "BOOKMARK"):
            return event
        return WatchEvent.of(event.type, strategy.from_storage(event.object), event.version)

    # --- writing

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        obj: Object,
        *,
        dry_run: bool = False,
        manager: str = CONTROLLER,
        field_validation: FieldValidation = "Strict",
    ) -> Object:
        """409 AlreadyExists, 422 Invalid, 404 for a missing namespace."""
        request = WriteRequest(manager=manager, dry_run=dry_run, field_validation=field_validation)
        return _own(self.writes.create(resource, namespace, _copied(obj), request))

    async def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        obj: Object,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
        manager: str = CONTROLLER,
        field_validation: FieldValidation = "Strict",
    ) -> Object:
        """PUT; 409 Conflict where metadata.resourceVersion is given and is not the current one."""
        request = WriteRequest(manager=manager, dry_run=dry_run, field_validation=field_validation)
        written = self.writes.update(resource, namespace, name, _copied(obj), request, subresource)
        return _own(written)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        patch_type: PatchType = "merge",
        subresource: str | None = None,
        dry_run: bool = False,
        manager: str = CONTROLLER,
        force: bool = False,
        field_validation: FieldValidation = "Strict",
    ) -> Object:
        """patch_type: json (RFC 6902), merge (RFC 7386), strategic (built-ins), apply (creates what is missing)."""
        request = WriteRequest(manager=manager, dry_run=dry_run, field_validation=field_validation, force=force)
        change = _copied(patch)
        written = self.writes.patch(resource, namespace, name, change, patch_type, request, subresource)
        return _own(written)

    async def bind(self, namespace: str, name: str, node: str) -> Object:
        """What the scheduler does: give a pod that has none its node. 409 where it has one already."""
        pod = self.stored(PODS, namespace, name).copy()
        if pod["spec"].get("nodeName"):
            why = f"pod {name} is already assigned to node {pod['spec']['nodeName']}"
            raise errors.conflict("", "pods/binding", name, why)
        if pod["metadata"].get("deletionTimestamp"):
            raise errors.conflict(
                "", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
            )
        if not node:
            raise errors.invalid("", "Binding", name, [required("target.name")])
        pod["spec"]["nodeName"] = node
        kept = [c for c in pod["status"].get("conditions") or [] if c["type"] != "PodScheduled"]
        now = now_text(self.clock())
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        pod["status"]["conditions"] = [*kept, scheduled]
        return _own(self.writes.update(PODS, namespace, name, pod, WriteRequest(), "binding"))

    def evict(
        self, resource: Resource, namespace: str | None, name: str, options: Object, request: WriteRequest
    ) -> None:
        """Mark a pod as disrupted by the eviction API, then delete it."""
        obj = self.stored(resource, namespace, name).copy()
        status = obj.setdefault("status", {})
        kept = [c for c in status.get("conditions") or [] if c["type"] != "DisruptionTarget"]
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastProbeTime": None,
            "lastTransitionTime": now_text(self.clock()),
        }
        status["conditions"] = [*kept, condition]
        dry_run = request.dry_run or "All" in (options.get("dryRun") or [])
        self.writes.update(resource, namespace, name, obj, WriteRequest(dry_run=dry_run), "status")
        preconditions = options.get("preconditions") or {}
        delete = DeleteRequest(
            options.get("propagationPolicy"),
            options.get("gracePeriodSeconds"),
            preconditions.get("uid"),
            preconditions.get("resourceVersion"),
            dry_run,
        )
        self.deletes.delete(resource, namespace, name, delete)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> Object:
        """The object while finalizers or grace hold it, else a Status of success. 409 where the uid is another's."""
        request = DeleteRequest(propagation, grace_seconds, uid, resource_version)
        return _own(self.deletes.delete(resource, namespace, name, request))
