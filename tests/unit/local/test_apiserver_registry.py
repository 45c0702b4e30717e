"""The registry's rules: versions, generations, no-ops, deletion, dry runs, and that all of it survives a restart."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import CONFIG_MAPS, CRDS, EVENTS, EVENTS_V1, JOBS, NAMESPACES, PODS, SECRETS
from support.widgets import CRD, GROUP, Clock, config_map, open_registry, widget, with_widgets


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = open_registry()
    yield found
    found.close()


async def refused(awaitable: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await awaitable
    return caught.value


async def test_a_created_object_has_what_the_server_sets(registry: Registry) -> None:
    made = await registry.create(CONFIG_MAPS, "default", config_map("a", x="1"))
    meta = made["metadata"]
    assert meta["namespace"] == "default"
    assert meta["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert int(meta["resourceVersion"]) == registry.storage.version
    assert len(meta["uid"]) == 36
    assert meta["managedFields"][0]["manager"] == "selm-local"


async def test_system_fields_of_a_new_object_are_never_the_client_s(registry: Registry) -> None:
    obj = config_map("a")
    obj["metadata"] |= {
        "uid": "mine",
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
    }
    meta = (await registry.create(CONFIG_MAPS, "default", obj))["metadata"]
    assert meta["uid"] != "mine"
    assert meta["creationTimestamp"].startswith("2026")
    assert "deletionTimestamp" not in meta


async def test_what_is_returned_is_the_caller_s_own(registry: Registry) -> None:
    made = await registry.create(CONFIG_MAPS, "default", config_map("a", x="1"))
    made["data"]["x"] = "changed"
    assert (await registry.get(CONFIG_MAPS, "default", "a"))["data"] == {"x": "1"}


async def test_the_second_object_of_a_name_is_refused(registry: Registry) -> None:
    await registry.create(CONFIG_MAPS, "default", config_map("a"))
    error = await refused(registry.create(CONFIG_MAPS, "default", config_map("a")))
    assert (error.code, error.reason) == (409, "AlreadyExists")


async def test_a_stale_version_conflicts_and_nothing_changes(registry: Registry) -> None:
    first = await registry.create(CONFIG_MAPS, "default", config_map("a", x="1"))
    await registry.update(CONFIG_MAPS, "default", "a", {**first, "data": {"x": "2"}})
    error = await refused(registry.update(CONFIG_MAPS, "default", "a", {**first, "data": {"x": "3"}}))
    assert (error.code, error.reason) == (409, "Conflict")
    assert (await registry.get(CONFIG_MAPS, "default", "a"))["data"] == {"x": "2"}


async def test_another_uid_conflicts(registry: Registry) -> None:
    made = await registry.create(CONFIG_MAPS, "default", config_map("a"))
    made["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert (await refused(registry.update(CONFIG_MAPS, "default", "a", made))).code == 409


async def test_an_update_of_nothing_keeps_the_version(registry: Registry) -> None:
    made = await registry.create(CONFIG_MAPS, "default", config_map("a", x="1"))
    same = await registry.update(CONFIG_MAPS, "default", "a", made)
    again = await registry.patch(CONFIG_MAPS, "default", "a", {"data": {"x": "1"}})
    assert (
        same["metadata"]["resourceVersion"]
        == again["metadata"]["resourceVersion"]
        == made["metadata"]["resourceVersion"]
    )


async def test_generation_counts_the_spec_and_nothing_else(registry: Registry) -> None:
    widgets = await with_widgets(registry)
    made = await registry.create(widgets, "default", widget("a"))
    assert made["metadata"]["generation"] == 1
    labelled = await registry.patch(widgets, "default", "a", {"metadata": {"labels": {"x": "y"}}})
    assert labelled["metadata"]["generation"] == 1
    done = await registry.patch(widgets, "default", "a", {"status": {"done": 1}}, subresource="status")
    assert done["metadata"]["generation"] == 1
    grown = await registry.patch(widgets, "default", "a", {"spec": {"size": 4}})
    assert grown["metadata"]["generation"] == 2
    forged = {**grown, "metadata": {**grown["metadata"], "generation": 99}}
    assert (await registry.update(widgets, "default", "a", forged))["metadata"]["generation"] == 2


async def test_status_and_spec_do_not_cross_their_endpoints(registry: Registry) -> None:
    widgets = await with_widgets(registry)
    made = await registry.create(widgets, "default", {**widget("a"), "status": {"done": 7}})
    assert "status" not in made
    change = {"spec": {"size": 9}, "status": {"done": 1}}
    by_status = await registry.patch(widgets, "default", "a", change, subresource="status")
    assert (by_status["spec"]["size"], by_status["status"]) == (3, {"done": 1})
    by_main = await registry.patch(widgets, "default", "a", {"spec": {"size": 9}, "status": {"done": 5}})
    assert (by_main["spec"]["size"], by_main["status"]) == (9, {"done": 1})


async def test_a_dry_run_admits_and_stores_nothing(registry: Registry) -> None:
    version = registry.storage.version
    made = await registry.create(CONFIG_MAPS, "default", config_map("a"), dry_run=True)
    assert "resourceVersion" not in made["metadata"]
    assert (await refused(registry.get(CONFIG_MAPS, "default", "a"))).code == 404
    assert registry.storage.version == version
    bad = await refused(registry.create(CONFIG_MAPS, "default", config_map("Bad Name"), dry_run=True))
    assert bad.code == 422


async def test_finalizers_hold_a_deleted_object_and_take_no_more(registry: Registry) -> None:
    widgets = await with_widgets(registry)
    held = widget("a")
    held["metadata"]["finalizers"] = ["example.dev/hold"]
    await registry.create(widgets, "default", held)
    marked = await registry.delete(widgets, "default", "a")
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    assert marked["metadata"]["generation"] == 2
    again = await registry.delete(widgets, "default", "a")
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
    more = {"metadata": {"finalizers": ["example.dev/hold", "example.dev/more"]}}
    error = await refused(registry.patch(widgets, "default", "a", more))
    assert error.code == 422
    await registry.patch(widgets, "default", "a", {"metadata": {"finalizers": None}})
    assert (await refused(registry.get(widgets, "default", "a"))).code == 404


@pytest.mark.parametrize(
    ("propagation", "finalizers"),
    [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)],
)
async def test_propagation_is_left_to_the_garbage_collector_as_a_finalizer(
    registry: Registry, propagation: str, finalizers: list[str] | None
) -> None:
    await registry.create(CONFIG_MAPS, "default", config_map("a"))
    left = await registry.delete(CONFIG_MAPS, "default", "a", propagation=propagation)
    if finalizers is None:
        assert left["status"] == "Success"
    else:
        assert left["metadata"]["finalizers"] == finalizers


async def test_a_deletion_meant_for_another_object_of_the_name_conflicts(registry: Registry) -> None:
    made = await registry.create(CONFIG_MAPS, "default", config_map("a"))
    assert (await refused(registry.delete(CONFIG_MAPS, "default", "a", uid="another"))).code == 409
    assert (await refused(registry.delete(CONFIG_MAPS, "default", "a", resource_version="1"))).code == 409
    await registry.delete(CONFIG_MAPS, "default", "a", uid=made["metadata"]["uid"])


async def test_namespaces_must_be_there_and_alive(registry: Registry) -> None:
    assert (await refused(registry.create(CONFIG_MAPS, "nowhere", config_map("a")))).code == 404
    await registry.create(NAMESPACES, None, {"metadata": {"name": "short"}})
    gone = await registry.delete(NAMESPACES, None, "short")
    assert gone["status"]["phase"] == "Terminating"
    error = await refused(registry.create(CONFIG_MAPS, "short", config_map("a")))
    assert (error.code, error.reason) == (403, "Forbidden")
    finished = {**gone, "spec": {"finalizers": []}}
    await registry.update(NAMESPACES, None, "short", finished, subresource="finalize")
    assert (await refused(registry.get(NAMESPACES, None, "short"))).code == 404


async def test_unknown_fields_are_refused_where_strict_and_dropped_where_not(registry: Registry) -> None:
    error = await refused(registry.create(CONFIG_MAPS, "default", {**config_map("a"), "nonsense": 1}))
    assert error.code == 400
    assert 'unknown field "nonsense"' in error.message
    made = await registry.create(CONFIG_MAPS, "default", {**config_map("a"), "nonsense": 1}, field_validation="Ignore")
    assert "nonsense" not in made


async def test_apply_owns_conflicts_and_gives_back(registry: Registry) -> None:
    widgets = await with_widgets(registry)
    mine = widget("a", size=5)
    await registry.patch(widgets, "default", "a", mine, patch_type="apply", manager="alice")
    error = await refused(
        registry.patch(widgets, "default", "a", widget("a", size=6), patch_type="apply", manager="bob")
    )
    assert (error.code, error.reason) == (409, "Conflict")
    taken = await registry.patch(
        widgets, "default", "a", widget("a", size=6), patch_type="apply", manager="bob", force=True
    )
    assert taken["spec"]["size"] == 6
    same = await registry.patch(widgets, "default", "a", widget("a", size=6), patch_type="apply", manager="bob")
    assert same["metadata"]["resourceVersion"] == taken["metadata"]["resourceVersion"]


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "cluster.sqlite"
    first = open_registry(path)
    widgets = await with_widgets(first)
    made = await first.create(widgets, "default", widget("a", size=7))
    await first.create(widgets, "default", widget("b"))
    await first.delete(widgets, "default", "b")
    version = first.storage.version
    first.close()

    second = open_registry(path)
    again = second.catalog.find(GROUP, "v1", "widgets")
    assert again is not None
    assert await second.get(again, "default", "a") == made
    assert (await refused(second.get(again, "default", "b"))).code == 404
    assert second.storage.version == version
    events = []
    async for event in second.watch(again, "default", resource_version=made["metadata"]["resourceVersion"]):
        events.append((event.type, event.object["metadata"]["name"]))
        if event.type == "DELETED":
            break
    assert events == [("ADDED", "b"), ("DELETED", "b")]
    newer = await second.create(again, "default", widget("c"))
    assert int(newer["metadata"]["resourceVersion"]) > version
    second.close()


async def test_a_state_that_was_never_closed_is_whole(tmp_path: Path) -> None:
    running = open_registry(tmp_path / "cluster.sqlite")
    await running.create(CONFIG_MAPS, "default", config_map("a", x="1"))
    # What a killed process leaves: the files as they lie.
    left = shutil.copytree(tmp_path, tmp_path / "left")
    running.close()
    second = open_registry(left / "cluster.sqlite")
    assert (await second.get(CONFIG_MAPS, "default", "a"))["data"] == {"x": "1"}
    second.close()


def test_a_state_has_one_server_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "cluster.sqlite"
    first = open_registry(path)
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}
    with pytest.raises(RuntimeError, match="in use by another API server"):
        open_registry(path)
    first.close()
    open_registry(path).close()


async def test_a_crd_serves_at_once_and_takes_its_instances_along(registry: Registry) -> None:
    widgets = await with_widgets(registry)
    crd = await registry.get(CRDS, None, CRD["metadata"]["name"])
    assert {c["type"]: c["status"] for c in crd["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    await registry.create(widgets, "default", widget("a"))
    left = await registry.delete(CRDS, None, CRD["metadata"]["name"])
    assert left["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert (await refused(registry.create(widgets, "default", widget("b")))).code == 405
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await refused(registry.get(CRDS, None, CRD["metadata"]["name"]))).code == 404
    assert registry.catalog.find(GROUP, "v1", "widgets") is None
    await with_widgets(registry)
    assert (await refused(registry.get(widgets, "default", "a"))).code == 404


async def test_an_instance_s_finalizer_holds_the_crd(registry: Registry) -> None:
    widgets = await with_widgets(registry)
    held = widget("a")
    held["metadata"]["finalizers"] = ["example.dev/hold"]
    await registry.create(widgets, "default", held)
    await registry.delete(CRDS, None, CRD["metadata"]["name"])
    await asyncio.sleep(0)
    assert (await registry.get(CRDS, None, CRD["metadata"]["name"]))["metadata"]["deletionTimestamp"]
    await registry.delete(widgets, "default", "a")
    await registry.patch(widgets, "default", "a", {"metadata": {"finalizers": None}})
    await asyncio.sleep(0)
    assert (await refused(registry.get(CRDS, None, CRD["metadata"]["name"]))).code == 404


async def test_two_crds_cannot_share_a_kind(registry: Registry) -> None:
    await with_widgets(registry)
    other = {**CRD, "metadata": {"name": f"gadgets.{GROUP}"}}
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Widget"}
    other["spec"] = {**CRD["spec"], "names": names}
    made = await registry.create(CRDS, None, other)
    conditions = {c["type"]: (c["status"], c["reason"]) for c in made["status"]["conditions"]}
    assert conditions["NamesAccepted"] == ("False", "KindConflict")
    assert conditions["Established"] == ("False", "NotAccepted")
    assert registry.catalog.find(GROUP, "v1", "gadgets") is None


async def test_events_are_one_storage_behind_two_apis(registry: Registry) -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.5Z",
        "reportingController": "example.dev/x",
        "reportingInstance": "i",
        "action": "Run",
        "reason": "Started",
        "note": "it began",
        "type": "Normal",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    }
    made = await registry.create(EVENTS_V1, "default", event)
    assert made["note"] == "it began"
    assert made["eventTime"] == "2026-01-01T00:00:00.500000Z"
    items, _ = await registry.list(EVENTS, "default", field_selector="involvedObject.name=p")
    assert [(i["message"], i["involvedObject"]["name"], i["apiVersion"]) for i in items] == [("it began", "p", "v1")]


async def test_secret_texts_become_data(registry: Registry) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"K": "v1"}}
    made = await registry.create(SECRETS, "default", secret)
    assert (made["data"], made["type"], "stringData" in made) == ({"K": "djE="}, "Opaque", False)


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "m", "image": "x"}]}}


async def test_a_pod_goes_at_once_where_nothing_runs_and_with_grace_where_something_does(registry: Registry) -> None:
    await registry.create(PODS, "default", pod("idle"))
    await registry.delete(PODS, "default", "idle")
    assert (await refused(registry.get(PODS, "default", "idle"))).code == 404
    await registry.create(PODS, "default", pod("busy"))
    bound = await registry.bind("default", "busy", "here")
    assert bound["spec"]["nodeName"] == "here"
    marked = await registry.delete(PODS, "default", "busy")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:30Z"
    sooner = await registry.delete(PODS, "default", "busy", grace_seconds=5)
    assert sooner["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:05Z"
    await registry.delete(PODS, "default", "busy", grace_seconds=0)
    assert (await refused(registry.get(PODS, "default", "busy"))).code == 404


async def test_a_pod_s_spec_is_fixed(registry: Registry) -> None:
    await registry.create(PODS, "default", pod("a"))
    error = await refused(registry.patch(PODS, "default", "a", {"spec": {"restartPolicy": "Never"}}))
    assert [c["field"] for c in (error.details or {})["causes"]] == ["spec"]
    image = {"spec": {"containers": [{"name": "m", "image": "y"}]}}
    changed = await registry.patch(PODS, "default", "a", image, patch_type="strategic")
    assert changed["spec"]["containers"][0]["image"] == "y"


async def test_a_job_s_pods_survive_a_deletion_that_says_nothing(registry: Registry) -> None:
    job = {"metadata": {"name": "j"}, "spec": {"template": {"spec": {**pod("x")["spec"], "restartPolicy": "Never"}}}}
    made = await registry.create(JOBS, "default", job)
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": uid}
    left = await registry.delete(JOBS, "default", "j")
    assert left["metadata"]["finalizers"] == ["orphan"]


def test_the_clock_of_tests_is_used() -> None:
    assert Clock()().year == 2026
