"""Watches: replay, selectors' edges, bookmarks, compaction, slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from selm_local.apiserver import watch as watch_module
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import CONFIG_MAPS
from support.widgets import config_map, open_registry, widget, with_widgets


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = open_registry(window=10)
    yield found
    found.close()


async def take(stream: Any, count: int) -> list[tuple[str, str]]:
    """The next `count` events, as (type, name)."""
    found = []
    for _ in range(count):
        event = await asyncio.wait_for(anext(stream), 5)
        found.append((event.type, event.object["metadata"]["name"]))
    return found


async def test_without_a_version_what_is_there_comes_first(registry: Registry) -> None:
    await registry.create(CONFIG_MAPS, "default", config_map("b"))
    await registry.create(CONFIG_MAPS, "default", config_map("a"))
    stream = registry.watch(CONFIG_MAPS, "default")
    assert await take(stream, 2) == [("ADDED", "a"), ("ADDED", "b")]
    await registry.delete(CONFIG_MAPS, "default", "a")
    assert await take(stream, 1) == [("DELETED", "a")]


async def test_with_a_version_only_what_came_after(registry: Registry) -> None:
    made = await registry.create(CONFIG_MAPS, "default", config_map("a"))
    await registry.patch(CONFIG_MAPS, "default", "a", {"data": {"x": "1"}})
    stream = registry.watch(CONFIG_MAPS, "default", resource_version=made["metadata"]["resourceVersion"])
    assert await take(stream, 1) == [("MODIFIED", "a")]


async def test_a_no_op_makes_no_event(registry: Registry) -> None:
    made = await registry.create(CONFIG_MAPS, "default", config_map("a", x="1"))
    stream = registry.watch(CONFIG_MAPS, "default", resource_version=made["metadata"]["resourceVersion"])
    await registry.patch(CONFIG_MAPS, "default", "a", {"data": {"x": "1"}})
    await registry.delete(CONFIG_MAPS, "default", "a")
    assert await take(stream, 1) == [("DELETED", "a")]


async def test_other_namespaces_and_kinds_are_silent(registry: Registry) -> None:
    stream = registry.watch(CONFIG_MAPS, "default")
    await registry.create(CONFIG_MAPS, "kube-system", config_map("elsewhere"))
    widgets = await with_widgets(registry)
    await registry.create(widgets, "default", widget("w"))
    await registry.create(CONFIG_MAPS, "default", config_map("here"))
    assert await take(stream, 1) == [("ADDED", "here")]


async def test_an_object_enters_and_leaves_a_selector(registry: Registry) -> None:
    version = str(registry.storage.version)
    stream = registry.watch(CONFIG_MAPS, "default", resource_version=version, label_selector="t=1")
    await registry.create(CONFIG_MAPS, "default", config_map("a", {"t": "2"}))
    await registry.patch(CONFIG_MAPS, "default", "a", {"metadata": {"labels": {"t": "1"}}})
    await registry.patch(CONFIG_MAPS, "default", "a", {"data": {"x": "1"}})
    left = await registry.patch(CONFIG_MAPS, "default", "a", {"metadata": {"labels": {"t": "3"}}})
    assert await take(stream, 2) == [("ADDED", "a"), ("MODIFIED", "a")]
    last = await asyncio.wait_for(anext(stream), 5)
    assert last.type == "DELETED"
    assert last.object["metadata"]["labels"] == {"t": "1"}
    assert last.object["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]


async def test_a_replay_sees_the_same_edges(registry: Registry) -> None:
    version = str(registry.storage.version)
    await registry.create(CONFIG_MAPS, "default", config_map("a", {"t": "1"}))
    await registry.patch(CONFIG_MAPS, "default", "a", {"metadata": {"labels": {"t": "3"}}})
    await registry.delete(CONFIG_MAPS, "default", "a")
    await registry.create(CONFIG_MAPS, "default", config_map("b", {"t": "1"}))
    stream = registry.watch(CONFIG_MAPS, "default", resource_version=version, label_selector="t=1")
    assert await take(stream, 3) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_fields_select_too(registry: Registry) -> None:
    stream = registry.watch(CONFIG_MAPS, "default", field_selector="metadata.name=b")
    await registry.create(CONFIG_MAPS, "default", config_map("a"))
    await registry.create(CONFIG_MAPS, "default", config_map("b"))
    assert await take(stream, 1) == [("ADDED", "b")]


async def test_a_compacted_version_is_gone(registry: Registry) -> None:
    old = (await registry.create(CONFIG_MAPS, "default", config_map("a")))["metadata"]["resourceVersion"]
    for i in range(30):
        await registry.patch(CONFIG_MAPS, "default", "a", {"data": {"x": str(i)}})
    assert registry.storage.compact(now=4e9) > 0
    with pytest.raises(ApiError) as caught:
        await anext(registry.watch(CONFIG_MAPS, "default", resource_version=old))
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    recent = str(registry.storage.version - 2)
    stream = registry.watch(CONFIG_MAPS, "default", resource_version=recent)
    assert await take(stream, 2) == [("MODIFIED", "a"), ("MODIFIED", "a")]


async def test_young_history_is_kept_beyond_the_window(registry: Registry) -> None:
    for i in range(50):
        await registry.create(CONFIG_MAPS, "default", config_map(f"a{i}"))
    assert registry.storage.compact() == 0


async def test_a_version_from_the_future_waits_for_it(registry: Registry) -> None:
    future = str(registry.storage.version + 2)
    stream = registry.watch(CONFIG_MAPS, "default", resource_version=future)
    waiting = asyncio.ensure_future(take(stream, 1))
    await asyncio.sleep(0)
    for name in ("a", "b", "c"):
        await registry.create(CONFIG_MAPS, "default", config_map(name))
    assert await waiting == [("ADDED", "c")]


async def test_a_reader_that_falls_behind_is_cut_off(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "BACKLOG", 3)
    stream = registry.watch(CONFIG_MAPS, "default")
    await registry.create(CONFIG_MAPS, "default", config_map("first"))
    assert await take(stream, 1) == [("ADDED", "first")]
    for i in range(5):
        await registry.create(CONFIG_MAPS, "default", config_map(f"a{i}"))
    seen = [event async for event in stream]
    assert [e.type for e in seen] == ["ERROR"]
    assert seen[0].object["code"] == 410
