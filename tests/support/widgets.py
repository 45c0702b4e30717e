"""A small custom resource and a registry in memory, for tests of the API server."""

from __future__ import annotations

import copy
import datetime as dt
from pathlib import Path
from typing import Any

from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import CRDS, Resource

GROUP = "widgets.example.dev"

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"widgets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wi"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "size": {"type": "integer", "minimum": 1, "default": 3},
                                    "colour": {"type": "string"},
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {"done": {"type": "integer"}},
                            },
                        },
                    }
                },
            }
        ],
    },
}


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now


def open_registry(path: Path | None = None, **options: Any) -> Registry:
    return Registry.open(path, clock=Clock(), **options)


async def with_widgets(registry: Registry) -> Resource:
    """Registers the CRD and returns its resource."""
    await registry.create(CRDS, None, copy.deepcopy(CRD))
    found = registry.catalog.find(GROUP, "v1", "widgets")
    assert found is not None
    return found


def widget(name: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name}
    if labels:
        meta["labels"] = labels
    return {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": meta, "spec": spec}


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name}
    if labels:
        meta["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
