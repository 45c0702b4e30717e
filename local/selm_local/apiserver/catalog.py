"""Which resources are served at this moment, and by which rules: built-ins and established CRDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from selm_local.apiserver.kinds.base import Strategy
from selm_local.apiserver.resources import Resource


class Catalog:
    """Lookup by path, by kind and by name. Changed only by the registry, when CRDs come and go."""

    def __init__(self) -> None:
        self._strategies: dict[Resource, Strategy] = {}
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self.revision = 0

    def add(self, strategy: Strategy) -> None:
        resource = strategy.resource
        self._strategies[resource] = strategy
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.api_version, resource.kind] = resource
        self.revision += 1

    def replace_custom(self, storage: str, strategies: Iterable[Strategy]) -> None:
        """The versions of one custom resource, all at once (none: it is served no more)."""
        for resource in [r for r in self._strategies if r.custom and r.storage == storage]:
            del self._strategies[resource]
            del self._by_path[resource.group, resource.version, resource.plural]
            del self._by_kind[resource.api_version, resource.kind]
        for strategy in strategies:
            self.add(strategy)
        self.revision += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an apiVersion and kind, as an owner reference names them."""
        return self._by_kind.get((api_version, kind))

    def current(self, resource: Resource) -> Resource | None:
        """The resource as it is served now (a CRD may have changed since the caller got it)."""
        return self._by_path.get((resource.group, resource.version, resource.plural))

    def strategy(self, resource: Resource) -> Strategy | None:
        return self._strategies.get(resource)

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._strategies))

    def stored(self) -> list[Resource]:
        """One resource per kind of stored object: what a garbage collector walks."""
        seen: dict[str, Resource] = {}
        for resource in self._strategies:
            if "list" in resource.verbs:
                seen.setdefault(resource.storage, resource)
        return list(seen.values())
