"""The namespace controller: gives every namespace its default ServiceAccount, and empties those being deleted."""

from __future__ import annotations

import asyncio

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import NAMESPACES, SERVICE_ACCOUNTS
from selm_local.controllers.informer import Informer, Key, WorkQueue
from selm_local.controllers.objects import Obj, is_deleting, name_of, namespace_of, uid_of

FINALIZER = "kubernetes"
LOOK_AGAIN_SECONDS = 0.2


class NamespaceController:
    """One instance a cluster."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._queue = WorkQueue("namespace", self._sync)
        self._namespaces = Informer(registry, NAMESPACES, self._changed)
        self._accounts = Informer(registry, SERVICE_ACCOUNTS, self._account_changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for task in (self._namespaces.run(), self._accounts.run(), self._queue.run()):
                group.create_task(task)

    def _changed(self, _old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            self._queue.add(("", name_of(new)))

    def _account_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None and name_of(old) == "default":
            self._queue.add(("", namespace_of(old)))

    async def _sync(self, key: Key) -> float | None:
        try:
            namespace = await self._registry.get(NAMESPACES, None, key[1])
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        if is_deleting(namespace):
            return await self._empty(namespace)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        try:
            await self._registry.get(SERVICE_ACCOUNTS, key[1], "default")
        except ApiError as error:
            if error.code != 404:
                raise
            await self._registry.create(SERVICE_ACCOUNTS, key[1], account)
        return None

    async def _empty(self, namespace: Obj) -> float | None:
        """Delete what is in the namespace; once it is empty, let it go."""
        left = 0
        for resource in self._registry.catalog.stored():
            if not resource.namespaced:
                continue
            for stored in self._registry.storage.all(resource.storage, name_of(namespace)):
                if not is_deleting(stored.object):
                    try:
                        await self._registry.delete(
                            resource, stored.namespace, stored.name, uid=uid_of(stored.object), propagation="Background"
                        )
                    except ApiError as error:
                        if error.code not in (404, 409):
                            raise
                left += 1
        if left:
            return LOOK_AGAIN_SECONDS
        finalizers = [one for one in (namespace.get("spec") or {}).get("finalizers") or [] if one != FINALIZER]
        namespace["spec"] = {**(namespace.get("spec") or {}), "finalizers": finalizers}
        try:
            await self._registry.update(NAMESPACES, None, name_of(namespace), namespace, subresource="finalize")
        except ApiError as error:
            if error.code != 404:
                raise
        return None
