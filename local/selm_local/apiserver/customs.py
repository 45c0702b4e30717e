"""CRDs become served resources, and cease to be.

A CRD is established in the step that stores it: its names are checked against those in use, its conditions are set,
and from the next request on it is served. Deleted, it stays (finalizer) until its instances are gone.
"""

from __future__ import annotations

import logging
from typing import Any

from selm_local.apiserver.catalog import Catalog
from selm_local.apiserver.kinds.crds import CLEANUP, established
from selm_local.apiserver.kinds.custom import Custom, custom_resource
from selm_local.apiserver.resources import CRDS
from selm_local.apiserver.storage import Change, Object, Storage
from selm_local.apiserver.watch import Hub

_log = logging.getLogger(__name__)


def storage_key(crd: Object) -> str:
    return f"{crd['spec']['group']}/{crd['spec']['names']['plural']}"


class Customs:
    def __init__(self, catalog: Catalog, storage: Storage, hub: Hub):
        self._catalog = catalog
        self._storage = storage
        self._hub = hub

    def load(self) -> None:
        """At start: serve what the stored CRDs define."""
        for stored in self._storage.all(CRDS.storage):
            self._serve(stored.object)

    def changed(self, change: Change) -> None:
        """A CRD was written or removed; called within the commit."""
        if change.type == "DELETED":
            key = storage_key(change.new.object)
            self._catalog.replace_custom(key, [])
            self._hub.close_storage(key)
        else:
            self._serve(change.new.object)

    def _serve(self, crd: Object) -> None:
        served = [v for v in crd["spec"]["versions"] if v.get("served")] if established(crd) else []
        strategies = [Custom(custom_resource(crd, v), crd, v) for v in served]
        self._catalog.replace_custom(storage_key(crd), strategies)

    def to_clean_up(self, change: Change) -> str | None:
        """The name of the CRD whose deletion this change may bring forward."""
        if change.new.storage == CRDS.storage:
            deleting = change.type != "DELETED" and change.new.object["metadata"].get("deletionTimestamp")
            return change.new.name if deleting else None
        group, _, plural = change.new.storage.partition("/")
        if change.type != "DELETED" or "." not in group:
            return None
        crd = self._storage.get(CRDS.storage, "", f"{plural}.{group}")
        return crd.name if crd and crd.object["metadata"].get("deletionTimestamp") else None

    def clean_up(self, name: str) -> None:
        """Finish a deleted CRD: instances without finalizers go, and then the CRD itself, if none is left."""
        stored = self._storage.get(CRDS.storage, "", name)
        if stored is None or not stored.object["metadata"].get("deletionTimestamp"):
            return
        key = storage_key(stored.object)
        for instance in self._storage.all(key):
            if instance.object["metadata"].get("finalizers"):
                continue
            self._storage.delete(key, instance.namespace, instance.name, instance.copy())
        if self._storage.all(key):
            return
        crd = stored.copy()
        finalizers: list[Any] = [f for f in crd["metadata"].get("finalizers") or [] if f != CLEANUP]
        if finalizers:
            crd["metadata"]["finalizers"] = finalizers
            self._storage.put(CRDS.storage, "", name, crd)
        else:
            self._storage.delete(CRDS.storage, "", name, stored.copy())
