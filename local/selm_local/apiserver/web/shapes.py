"""Lists, tables and metadata-only forms of objects, as bytes."""

from __future__ import annotations

from typing import Any

from selm_local.apiserver.kinds.base import Strategy
from selm_local.apiserver.storage import Object, Stored, encode
from selm_local.apiserver.tables import Row, columns_of, row_of
from selm_local.apiserver.watch import WatchEvent
from selm_local.apiserver.web.paging import Page


def raw_of(strategy: Strategy, stored: Stored) -> bytes:
    return encode(strategy.from_storage(stored.copy())) if strategy.converts else stored.raw


def object_of(strategy: Strategy, stored: Stored) -> Object:
    return strategy.from_storage(stored.copy()) if strategy.converts else stored.object


def _list_meta(page: Page) -> Object:
    found: Object = {"resourceVersion": str(page.version)}
    if page.token:
        found["continue"] = page.token
    if page.remaining is not None:
        found["remainingItemCount"] = page.remaining
    return found


def list_bytes(strategy: Strategy, page: Page) -> bytes:
    resource = strategy.resource
    head = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": _list_meta(page)}
    items = b",".join(raw_of(strategy, s) for s in page.items)
    return encode(head)[:-1] + b',"items":[' + items + b"]}"


def metadata_only(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def metadata_list(strategy: Strategy, page: Page) -> Object:
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": _list_meta(page),
        "items": [metadata_only(object_of(strategy, s)) for s in page.items],
    }


def table(strategy: Strategy, objects: list[Object], meta: Object, include: str, version: str = "v1") -> Object:
    """A meta.k8s.io Table. include: None, Metadata or Object (the query's includeObject)."""
    rows: list[Any] = []
    for obj in objects:
        row: Row = row_of(strategy, obj)
        found: Object = {"cells": row.cells}
        if row.conditions:
            found["conditions"] = row.conditions
        if include == "Object":
            found["object"] = obj
        elif include != "None":
            found["object"] = metadata_only(obj)
        rows.append(found)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
        "columnDefinitions": columns_of(strategy),
        "rows": rows,
    }


def page_table(strategy: Strategy, page: Page, include: str, version: str) -> Object:
    objects = [object_of(strategy, s) for s in page.items]
    return table(strategy, objects, _list_meta(page), include, version)


def event_bytes(strategy: Strategy, event: WatchEvent, as_kind: str, include: str) -> bytes:
    """One line of a watch."""
    raw = event.raw
    if event.type == "ERROR":
        pass
    elif as_kind == "Table":
        obj = event.object
        if event.type == "BOOKMARK":
            raw = encode(table(strategy, [], obj["metadata"], include))
        else:
            meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            raw = encode(table(strategy, [strategy.from_storage(obj)], meta, include))
    elif as_kind.startswith("PartialObjectMetadata"):
        raw = encode(metadata_only(event.object))
    elif strategy.converts and event.type != "BOOKMARK":
        raw = encode(strategy.from_storage(event.object))
    return b'{"type":"' + event.type.encode() + b'","object":' + raw + b"}\n"
