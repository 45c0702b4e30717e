"""Garbage collection: tables over small clusters, then the loops with a real registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.resources import (
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_ACCOUNTS,
    Resource,
)
from selm_local.controllers.collection import Item, collect
from support.local_cluster import LocalCluster, local_cluster

Spec = dict[str, Any]


def thing(name: str, *owners: str, blocks: bool = True, kind: str = "ConfigMap", **metadata: Any) -> Item:
    references = [
        {
            "apiVersion": "v1",
            "kind": kind,
            "name": owner,
            "uid": owner,
            "controller": False,
            "blockOwnerDeletion": blocks,
        }
        for owner in owners
    ]
    meta = {"name": name, "namespace": "d", "uid": name, "ownerReferences": references, **metadata}
    return Item(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})


DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
FOREGROUND = {**DELETED, "finalizers": ["foregroundDeletion"]}
ORPHANING = {**DELETED, "finalizers": ["orphan"]}


@pytest.mark.parametrize(
    ("sentence", "items", "expected"),
    [
        ("an owned object stays while its owner does", [thing("o"), thing("c", "o")], []),
        ("an object whose owner is gone goes", [thing("c", "o")], [("delete", "c", "Background")]),
        ("one of two owners is enough", [thing("o"), thing("c", "o", "gone")], [("disown", "c", {"gone"})]),
        ("an owner of an unknown kind counts as there", [thing("c", "o", kind="Unknown")], []),
        ("in the foreground the child goes first", [thing("o", **FOREGROUND), thing("c", "o")], [("delete", "c", "Background")]),
        ("a child with children goes in the foreground too",
         [thing("o", **FOREGROUND), thing("c", "o"), thing("g", "c")], [("delete", "c", "Foreground")]),
        ("the owner waits for a child that is still ending", [thing("o", **FOREGROUND), thing("c", "o", **DELETED)], []),
        ("the owner does not wait for one that does not block",
         [thing("o", **FOREGROUND), thing("c", "o", blocks=False, **DELETED)], [("release", "o", "foregroundDeletion")]),
        ("the last child gone, the owner goes", [thing("o", **FOREGROUND)], [("release", "o", "foregroundDeletion")]),
        ("orphaning cuts the children loose, then lets the owner go",
         [thing("o", **ORPHANING), thing("c", "o")], [("disown", "c", {"o"}), ("release", "o", "orphan")]),
        ("a child of one solid and one waiting owner is taken from the latter",
         [thing("o", **FOREGROUND), thing("p"), thing("c", "o", "p")], [("disown", "c", {"o"})]),
        ("an owner in another namespace is none",
         [Item(CONFIG_MAPS, {"metadata": {"name": "o", "namespace": "e", "uid": "o"}}), thing("c", "o")],
         [("delete", "c", "Background")]),
        ("a cluster-scoped owner is in reach",
         [Item(NODES, {"metadata": {"name": "o", "uid": "o"}}), thing("c", "o")], []),
        ("an object that is going is not deleted again", [thing("c", "gone", **DELETED, finalizers=["x/y"])], []),
    ],
)  # fmt: skip
def test_what_is_collected(sentence: str, items: list[Item], expected: list[tuple[str, str, Any]]) -> None:
    def served(_version: str, kind: str) -> Resource | None:
        return None if kind == "Unknown" else CONFIG_MAPS

    found: list[tuple[str, str, Any]] = []
    for action in collect(items, served):
        detail: Any = {"delete": action.propagation, "disown": set(action.owners), "release": action.finalizer}
        found.append((action.verb, action.item.obj["metadata"]["name"], detail[action.verb]))
    assert found == expected, sentence


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(tmp_path / "state") as made:
        yield made


def sleeping_job(name: str) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "m", "image": "i", "command": ["sleep", "600"]}]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": pod}}}


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_a_running_jobs_pods_and_processes_go_with_it(cluster: LocalCluster, propagation: str) -> None:
    await cluster.create_job(sleeping_job("j"))
    await cluster.until("j", lambda job: job["status"].get("ready") == 1, JOBS)
    await cluster.registry.delete(JOBS, "default", "j", propagation=propagation)
    await cluster.gone("j", JOBS)
    for _ in range(500):
        pods, _version = await cluster.registry.list(PODS, "default")
        if not pods and not any(cluster.state.pods.iterdir()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"left: {[one['metadata'] for one in pods]}")


async def test_orphaned_pods_stay_and_lose_the_tracking_finalizer(cluster: LocalCluster) -> None:
    await cluster.create_job(sleeping_job("j"))
    await cluster.until("j", lambda job: job["status"].get("ready") == 1, JOBS)
    await cluster.registry.delete(JOBS, "default", "j", propagation="Orphan")
    await cluster.gone("j", JOBS)
    pods, _ = await cluster.registry.list(PODS, "default")
    pod = await cluster.until(pods[0]["metadata"]["name"], lambda one: "finalizers" not in one["metadata"])
    assert "ownerReferences" not in pod["metadata"]
    assert pod["status"]["phase"] == "Running"


async def test_a_namespace_empties_itself_and_goes(cluster: LocalCluster) -> None:
    registry = cluster.registry
    await registry.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    for _ in range(200):
        if (await registry.list(SERVICE_ACCOUNTS, "n"))[0]:
            break
        await asyncio.sleep(0.02)
    assert [one["metadata"]["name"] for one in (await registry.list(SERVICE_ACCOUNTS, "n"))[0]] == ["default"]
    await registry.create(JOBS, "n", sleeping_job("j"))
    await registry.create(CONFIG_MAPS, "n", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    await registry.delete(NAMESPACES, None, "n")
    for _ in range(1000):
        try:
            namespace = await registry.get(NAMESPACES, None, "n")
        except ApiError as error:
            if error.code != 404:
                raise
            break
        assert namespace["status"]["phase"] == "Terminating"
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the namespace is still there")
    for resource in (JOBS, PODS, CONFIG_MAPS, SERVICE_ACCOUNTS, EVENTS):
        assert (await registry.list(resource, "n"))[0] == []
