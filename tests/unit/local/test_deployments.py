"""Deployments: how a rollout is sized, and one with real pods; probes and tokens of these pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.resources import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS, RESOURCE_QUOTAS
from selm_local.controllers.rollout import sizes
from support.local_cluster import LocalCluster, local_cluster

Json = dict[str, Any]


def replica_set(name: str, replicas: int, available: int) -> Json:
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": replicas},
        "status": {"availableReplicas": available},
    }


def rolling(replicas: int, surge: int | str, unavailable: int | str) -> Json:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return {"spec": {"replicas": replicas, "strategy": strategy}}


@pytest.mark.parametrize(
    ("what", "deployment", "new", "old", "expected"),
    [
        ("a first one is whole at once", rolling(3, 1, 0), (0, 0), [], [3]),
        ("it surges before it lets go", rolling(3, 1, 0), (0, 0), [(3, 3)], [1, 3]),
        ("it lets go of as many as became available", rolling(3, 1, 0), (1, 1), [(3, 3)], [1, 2]),
        ("it waits for those that are not available yet", rolling(3, 1, 0), (1, 0), [(3, 3)], [1, 3]),
        ("some may be unavailable", rolling(4, 0, 2), (0, 0), [(4, 4)], [0, 2]),
        ("sick ones go first", rolling(3, 1, 0), (1, 1), [(2, 0), (2, 2)], [1, 0, 2]),
        ("it shrinks", rolling(1, "25%", "25%"), (3, 3), [], [1]),
    ],
)
def test_a_rolling_update_is_sized(
    what: str, deployment: Json, new: tuple[int, int], old: list[tuple[int, int]], expected: list[int]
) -> None:
    sets = [replica_set(f"s{i}", *counts) for i, counts in enumerate([new, *old])]
    found = sizes(deployment, sets[0], sets[1:], old_pods_left=False)
    assert [found[f"s{i}"] for i in range(len(sets))] == expected, what


def test_recreate_waits_for_the_old_pods() -> None:
    deployment = {"spec": {"replicas": 2, "strategy": {"type": "Recreate"}}}
    new, old = replica_set("new", 0, 0), replica_set("old", 2, 2)
    assert sizes(deployment, new, [old], old_pods_left=True) == {"new": 0, "old": 0}
    old["spec"]["replicas"] = 0
    assert sizes(deployment, new, [old], old_pods_left=True)["new"] == 0
    assert sizes(deployment, new, [old], old_pods_left=False)["new"] == 2


@given(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3), st.data())
def test_a_rollout_ends_and_keeps_its_bounds(wanted: int, surge: int, unavailable: int, data: st.DataObject) -> None:
    deployment = rolling(wanted, surge, unavailable)
    new, old = replica_set("new", 0, 0), replica_set("old", wanted, wanted)
    most = wanted + (surge if surge or unavailable else 0)
    least = wanted - (unavailable if surge or unavailable else 1)
    for _ in range(60):
        found = sizes(deployment, new, [old], old_pods_left=False)
        new["spec"]["replicas"], old["spec"]["replicas"] = found["new"], found["old"]
        assert found["new"] + found["old"] <= most
        old["status"]["availableReplicas"] = min(old["status"]["availableReplicas"], found["old"])
        assert new["status"]["availableReplicas"] + old["status"]["availableReplicas"] >= least
        waiting = found["new"] - new["status"]["availableReplicas"]
        new["status"]["availableReplicas"] += data.draw(st.integers(min(waiting, 1), max(waiting, 0)))
        if (found["new"], found["old"]) == (wanted, 0) and new["status"]["availableReplicas"] == wanted:
            return
    pytest.fail(f"no end: {new} {old}")


# --- with real pods


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(tmp_path / "state") as made:
        yield made


def deployment(script: str = "sleep 60", replicas: int = 1, **container: Any) -> Json:
    main = {"name": "main", "image": "i:1", "command": ["/bin/sh", "-c", script], **container}
    template = {
        "metadata": {"labels": {"app": "d"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [main]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    return {"metadata": {"name": "d"}, "spec": spec}


async def settled(cluster: LocalCluster, generation: int, replicas: int) -> Json:
    def over(one: Json) -> bool:
        status = one.get("status") or {}
        counts = (status.get("replicas", 0), status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
        return status.get("observedGeneration", 0) >= generation and counts == (replicas,) * 3

    return await cluster.until("d", over, DEPLOYMENTS)


async def test_a_deployment_rolls_out_and_back_and_goes_with_its_pods(cluster: LocalCluster) -> None:
    registry = cluster.registry
    await registry.create(DEPLOYMENTS, "default", deployment(replicas=2))
    first = await settled(cluster, 1, 2)
    reasons = {one["type"]: (one["status"], one["reason"]) for one in first["status"]["conditions"]}
    assert reasons == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "i:2"}]}}}}
    changed = await registry.patch(DEPLOYMENTS, "default", "d", change, patch_type="strategic")
    await settled(cluster, changed["metadata"]["generation"], 2)
    sets, _ = await registry.list(REPLICA_SETS, "default")
    assert sorted(one["spec"]["replicas"] for one in sets) == [0, 2]
    pods, _ = await registry.list(PODS, "default")
    alive = [one for one in pods if not one["metadata"].get("deletionTimestamp")]
    assert {one["spec"]["containers"][0]["image"] for one in alive} == {"i:2"}
    await registry.delete(DEPLOYMENTS, "default", "d", propagation="Background")
    for _ in range(200):
        if not (await registry.list(PODS, "default"))[0] and not (await registry.list(REPLICA_SETS, "default"))[0]:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("its pods outlive it")


async def test_a_quota_is_told_as_an_event_of_the_replica_set(cluster: LocalCluster) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    await cluster.registry.create(RESOURCE_QUOTAS, "default", quota)
    await cluster.registry.create(DEPLOYMENTS, "default", deployment())

    for _ in range(200):
        events, _ = await cluster.registry.list(EVENTS, "default")
        failed = [one for one in events if one["reason"] == "FailedCreate"]
        if failed:
            break
        await asyncio.sleep(0.05)
    assert "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0" in failed[0]["message"]


async def test_probes_say_ready_and_restart_the_dead(cluster: LocalCluster, tmp_path: Path) -> None:
    ready, alive = tmp_path / "ready", tmp_path / "alive"
    alive.touch()
    probes = {
        "readinessProbe": {"exec": {"command": ["test", "-e", str(ready)]}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": ["test", "-e", str(alive)]}, "periodSeconds": 1, "failureThreshold": 1},
    }
    await cluster.registry.create(DEPLOYMENTS, "default", deployment(**probes))
    for _ in range(400):
        pods, _ = await cluster.registry.list(PODS, "default")
        if pods and pods[0]["status"].get("phase") == "Running":
            break
        await asyncio.sleep(0.05)
    name = pods[0]["metadata"]["name"]
    assert pods[0]["status"]["containerStatuses"][0]["ready"] is False
    ready.touch()
    await cluster.until(name, lambda one: one["status"]["containerStatuses"][0]["ready"])
    alive.unlink()
    await cluster.until(name, lambda one: one["status"]["containerStatuses"][0]["restartCount"] == 1)
    events, _ = await cluster.registry.list(EVENTS, "default")
    assert {"Unhealthy", "Killing"} <= {one["reason"] for one in events}


async def test_a_selector_must_match(cluster: LocalCluster) -> None:
    wrong = deployment()
    wrong["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    with pytest.raises(ApiError, match="`selector` does not match template `labels`"):
        await cluster.registry.create(DEPLOYMENTS, "default", wrong)
