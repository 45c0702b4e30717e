"""The quota controller: keeps `status.used` of every ResourceQuota true. What exceeds one is refused at admission."""

from __future__ import annotations

import asyncio

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.quota import Quotas
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import RESOURCE_QUOTAS
from selm_local.apiserver.storage import Change

DEBOUNCE_SECONDS = 0.1


class QuotaController:
    """One instance a cluster. It looks at namespaces that have a quota, and only when something in them changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._quotas = Quotas(registry.storage, registry.catalog.stored)
        self._changed = {one.namespace for one in registry.storage.all(RESOURCE_QUOTAS.storage)}
        self._wake = asyncio.Event()
        before = registry.storage.on_change

        def on_change(change: Change) -> None:
            before(change)
            if change.new.namespace:
                self._changed.add(change.new.namespace)
                self._wake.set()

        registry.storage.on_change = on_change

    async def run(self) -> None:
        while True:
            namespaces, self._changed = self._changed, set()
            self._wake.clear()
            for namespace in sorted(namespaces):
                for quota in self._quotas.of(namespace):
                    status = self._quotas.status(quota)
                    if status != (quota.get("status") or {}):
                        await self._write(namespace, quota["metadata"]["name"], status)
            await self._wake.wait()
            await asyncio.sleep(DEBOUNCE_SECONDS)

    async def _write(self, namespace: str, name: str, status: dict[str, object]) -> None:
        try:
            change = {"status": status}
            await self._registry.patch(RESOURCE_QUOTAS, namespace, name, change, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise
