"""Custom resources: CRDs become served resources, and cease to be."""

from __future__ import annotations

from selm_local.apiserver.catalog import Catalog
from selm_local.apiserver.storage import Change, Storage
from selm_local.apiserver.watch import Hub


class Customs:
    def __init__(self, catalog: Catalog, storage: Storage, hub: Hub):
        self._catalog = catalog
        self._storage = storage
        self._hub = hub

    def load(self) -> None:
        """At start: serve what the stored CRDs define."""

    def changed(self, change: Change) -> None:
        """A CRD was written or removed."""
