"""The HTTP shell: content types, query parameters, tables, watches, discovery, access, logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import CONFIG_MAPS, JOBS, PODS
from selm_local.apiserver.storage import Object
from selm_local.apiserver.web.app import ApiServer
from support.widgets import GROUP, config_map, open_registry, widget, with_widgets

ADMIN = {"Authorization": "Bearer secret"}
CMS = "/api/v1/namespaces/default/configmaps"
WIDGETS = f"/apis/{GROUP}/v1/namespaces/default/widgets"
MERGE = {"Content-Type": "application/merge-patch+json"}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


class Logs:
    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, pod: Object, container: str) -> Path:
        return self.folder / f"{pod['metadata']['name']}-{container}.log"


class World:
    def __init__(self, registry: Registry, client: TestClient[Any, Any], folder: Path):
        self.registry = registry
        self.client = client
        self.folder = folder

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        headers = {**ADMIN, "Content-Type": "application/json", **options.pop("headers", {})}
        data = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body)
        async with self.client.request(method, path, data=data, headers=headers, **options) as response:
            self.warnings = response.headers.getall("Warning", [])
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    registry = open_registry()
    server = ApiServer(registry, "secret", logs=Logs(tmp_path))
    async with TestClient(TestServer(server.app)) as client:
        yield World(registry, client, tmp_path)
        registry.hub.close()
    registry.close()


async def test_create_get_list_delete(world: World) -> None:
    assert (await world.call("POST", CMS, config_map("a", x="1")))[0] == 201
    status, found = await world.call("GET", f"{CMS}/a")
    assert (status, found["data"], found["kind"]) == (200, {"x": "1"}, "ConfigMap")
    _, listed = await world.call("GET", CMS)
    assert (listed["kind"], [i["metadata"]["name"] for i in listed["items"]]) == ("ConfigMapList", ["a"])
    assert (await world.call("DELETE", f"{CMS}/a"))[1]["status"] == "Success"
    status, gone = await world.call("GET", f"{CMS}/a")
    assert (status, gone["reason"], gone["details"]["kind"]) == (404, "NotFound", "configmaps")


async def test_yaml_in_and_out(world: World) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata: {when: 2026-01-01, rate: '5e-7'}\n"
    made = await world.call("POST", CMS, text, headers={"Content-Type": "application/yaml"})
    assert (made[0], made[1]["data"]) == (201, {"when": "2026-01-01", "rate": "5e-7"})
    status, answer = await world.call("GET", f"{CMS}/y", headers={"Accept": "application/yaml"})
    assert (status, yaml.safe_load(answer)["data"]["rate"]) == (200, "5e-7")


async def test_numbers_in_yaml_are_read_as_go_reads_them(world: World) -> None:
    await with_widgets(world.registry)
    text = f"apiVersion: {GROUP}/v1\nkind: Widget\nmetadata: {{name: y}}\nspec: {{size: 5e-7}}\n"
    apply = {"Content-Type": "application/apply-patch+yaml"}
    status, answer = await world.call("PATCH", f"{WIDGETS}/y?fieldManager=m", text, headers=apply)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.size")


async def test_unknown_and_duplicate_fields_warn_or_refuse(world: World) -> None:
    text = '{"metadata":{"name":"a"},"data":{"x":"1","x":"2"},"nonsense":1}'
    status, made = await world.call("POST", CMS, text)
    assert (status, made["data"]) == (201, {"x": "2"})
    assert world.warnings == ['299 - "duplicate field \\"data.x\\""', '299 - "unknown field \\"nonsense\\""']
    status, refused = await world.call("POST", f"{CMS}?fieldValidation=Strict", text)
    assert status == 400
    assert 'duplicate field "data.x", unknown field "nonsense"' in refused["message"]
    await world.call("POST", f"{CMS}?fieldValidation=Ignore", text.replace('"a"', '"b"'))
    assert world.warnings == []


@pytest.mark.parametrize(
    ("what", "query", "field"),
    [
        ("fieldValidation", "fieldValidation=Maybe", "fieldValidation"),
        ("dryRun", "dryRun=Some", "dryRun"),
        ("a manager that is too long", "fieldManager=" + "m" * 200, "fieldManager"),
        ("force without apply", "force=true", "force"),
    ],
)
async def test_wrong_parameters_are_named(world: World, what: str, query: str, field: str) -> None:
    status, answer = await world.call("POST", f"{CMS}?{query}", config_map("a"))
    assert (status, answer["details"]["causes"][0]["field"]) == (422, field)


async def test_the_user_agent_is_the_field_manager(world: World) -> None:
    await world.call("POST", CMS, config_map("a", x="1"), headers={"User-Agent": "curl/8.0 (linux)"})
    _, found = await world.call("GET", f"{CMS}/a")
    assert found["metadata"]["managedFields"][0]["manager"] == "curl"


async def test_bodies_that_are_none(world: World) -> None:
    assert (await world.call("POST", CMS, "{nope"))[0] == 400
    assert (await world.call("POST", CMS, "[1]"))[0] == 400
    assert (await world.call("POST", CMS, '{"metadata":{"name":"a"},"data":{"x":NaN}}'))[0] == 400
    assert (await world.call("POST", CMS, "{}", headers={"Content-Type": "text/plain"}))[0] == 415
    assert (await world.call("GET", CMS, headers={"Accept": "text/html"}))[0] == 406
    assert (
        await world.call("POST", CMS, b"k8s\x00\x0a", headers={"Content-Type": "application/vnd.kubernetes.protobuf"})
    )[0] == 400
    huge = await world.call("POST", CMS, "x" * (4 * 1024 * 1024))
    assert huge[0] == 413


async def test_pages_are_of_one_version(world: World) -> None:
    for i in range(5):
        await world.registry.create(CONFIG_MAPS, "default", config_map(f"a{i}"))
    _, first = await world.call("GET", f"{CMS}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await world.registry.create(CONFIG_MAPS, "default", config_map("a2x"))
    await world.registry.delete(CONFIG_MAPS, "default", "a3")
    names = [i["metadata"]["name"] for i in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        _, page = await world.call("GET", CMS, params={"limit": "2", "continue": token})
        names += [i["metadata"]["name"] for i in page["items"]]
        token = page["metadata"].get("continue")
    assert names == [f"a{i}" for i in range(5)]
    assert (await world.call("GET", CMS, params={"continue": "nonsense"}))[0] == 400


async def test_a_page_of_a_compacted_version_is_gone(world: World) -> None:
    for i in range(4):
        await world.registry.create(CONFIG_MAPS, "default", config_map(f"a{i}"))
    _, first = await world.call("GET", f"{CMS}?limit=2")
    for i in range(3000):
        world.registry.storage.put("/configmaps", "default", "busy", {"metadata": {"name": "busy", "n": i}})
    world.registry.storage.compact(now=4e9)
    status, answer = await world.call("GET", CMS, params={"continue": first["metadata"]["continue"]})
    assert (status, answer["reason"]) == (410, "Expired")


async def test_versions_in_lists(world: World) -> None:
    made = await world.registry.create(CONFIG_MAPS, "default", config_map("a"))
    version = made["metadata"]["resourceVersion"]
    await world.registry.delete(CONFIG_MAPS, "default", "a")
    exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
    assert len((await world.call("GET", CMS, params=exact))[1]["items"]) == 1
    assert (await world.call("GET", f"{CMS}?resourceVersion=x"))[0] == 400
    assert (await world.call("GET", f"{CMS}?resourceVersion=0"))[0] == 200
    status, answer = await world.call("GET", f"{CMS}?resourceVersion=999999")
    assert (status, answer["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


async def test_tables_and_metadata(world: World) -> None:
    await with_widgets(world.registry)
    await world.call("POST", WIDGETS, widget("a", size=4))
    _, table = await world.call("GET", WIDGETS, headers=TABLE)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["a", 4]
    assert sorted(table["rows"][0]["object"]) == ["apiVersion", "kind", "metadata"]
    _, whole = await world.call("GET", f"{WIDGETS}/a?includeObject=Object", headers=TABLE)
    assert whole["rows"][0]["object"]["spec"] == {"size": 4}
    partial = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    _, found = await world.call("GET", WIDGETS, headers=partial)
    assert (found["kind"], sorted(found["items"][0])) == (
        "PartialObjectMetadataList",
        ["apiVersion", "kind", "metadata"],
    )


async def test_a_job_s_table_reads_like_kubectl(world: World) -> None:
    spec = {
        "completions": 3,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "x"}]}},
    }
    await world.registry.create(JOBS, "default", {"metadata": {"name": "j"}, "spec": spec})
    status = {
        "succeeded": 3,
        "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:01:05Z",
        "conditions": [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")],
    }
    await world.registry.patch(JOBS, "default", "j", {"status": status}, subresource="status")
    _, table = await world.call("GET", "/apis/batch/v1/namespaces/default/jobs", headers=TABLE)
    assert table["rows"][0]["cells"][:4] == ["j", "Complete", "3/3", "65s"]


async def read_events(world: World, path: str, count: int) -> list[Any]:
    found: list[Any] = []
    async with world.client.get(path, headers=ADMIN) as response:
        assert response.status == 200
        while len(found) < count:
            line = await asyncio.wait_for(response.content.readline(), 5)
            if not line:
                break
            found.append(json.loads(line))
    return found


async def test_watch_replays_and_ends_in_time(world: World) -> None:
    version = world.registry.storage.version
    await world.registry.create(CONFIG_MAPS, "default", config_map("a"))
    await world.registry.delete(CONFIG_MAPS, "default", "a")
    events = await read_events(world, f"{CMS}?watch=true&timeoutSeconds=1&resourceVersion={version}", 99)
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [("ADDED", "a"), ("DELETED", "a")]


async def test_initial_events_end_with_a_bookmark(world: World) -> None:
    await world.registry.create(CONFIG_MAPS, "default", config_map("a"))
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = await read_events(world, f"{CMS}?{query}", 2)
    assert [e["type"] for e in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (await world.call("GET", f"{CMS}?watch=true&sendInitialEvents=true"))[0] == 422


async def test_a_watch_of_a_compacted_version_says_so_in_the_stream(world: World) -> None:
    world.registry.storage.floor = 5
    events = await read_events(world, f"{CMS}?watch=true&resourceVersion=2", 1)
    assert (events[0]["type"], events[0]["object"]["code"]) == ("ERROR", 410)


async def test_a_reader_that_leaves_is_forgotten() -> None:
    registry = open_registry()
    server = ApiServer(registry, "secret")
    port = await server.start("127.0.0.1", 0)
    async with ClientSession(f"http://127.0.0.1:{port}", headers=ADMIN) as session:
        response = await session.get(f"{CMS}?watch=true")
        assert len(registry.hub.watchers("/configmaps")) == 1
        response.close()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not registry.hub.watchers("/configmaps"):
                break
    assert not registry.hub.watchers("/configmaps")
    await server.stop()
    registry.close()


async def test_patches_by_content_type(world: World) -> None:
    await with_widgets(world.registry)
    await world.call("POST", WIDGETS, widget("a"))
    assert (await world.call("PATCH", f"{WIDGETS}/a", {"spec": {"size": 5}}, headers=MERGE))[1]["spec"]["size"] == 5
    json_patch = [{"op": "replace", "path": "/spec/size", "value": 6}]
    headers = {"Content-Type": "application/json-patch+json"}
    assert (await world.call("PATCH", f"{WIDGETS}/a", json_patch, headers=headers))[1]["spec"]["size"] == 6
    strategic = {"Content-Type": "application/strategic-merge-patch+json"}
    assert (await world.call("PATCH", f"{WIDGETS}/a", {"spec": {}}, headers=strategic))[0] == 415
    apply = {"Content-Type": "application/apply-patch+yaml"}
    assert (await world.call("PATCH", f"{WIDGETS}/a", widget("a"), headers=apply))[0] == 422
    bad = await world.call("PATCH", f"{WIDGETS}/a?fieldValidation=Strict", {"spec": {"nonsense": 1}}, headers=MERGE)
    assert (bad[0], bad[1]["details"]["causes"][0]["field"]) == (422, "patch")


async def test_delete_options(world: World) -> None:
    made = await world.registry.create(CONFIG_MAPS, "default", config_map("a"))
    wrong = {"kind": "DeleteOptions", "preconditions": {"uid": "another"}}
    assert (await world.call("DELETE", f"{CMS}/a", wrong))[0] == 409
    assert (await world.call("DELETE", f"{CMS}/a", {"kind": "Other"}))[0] == 400
    assert (await world.call("DELETE", f"{CMS}/a?propagationPolicy=Nobody"))[0] == 422
    assert (await world.call("DELETE", f"{CMS}/a?dryRun=All"))[0] == 200
    right = {
        "kind": "DeleteOptions",
        "preconditions": {"uid": made["metadata"]["uid"]},
        "propagationPolicy": "Foreground",
    }
    status, left = await world.call("DELETE", f"{CMS}/a", right)
    assert (status, left["metadata"]["finalizers"]) == (200, ["foregroundDeletion"])


async def test_a_collection_goes_by_label(world: World) -> None:
    for i in range(3):
        await world.registry.create(CONFIG_MAPS, "default", config_map(f"a{i}", {"k": str(i % 2)}))
    _, gone = await world.call("DELETE", f"{CMS}?labelSelector=k%3D0")
    assert [i["metadata"]["name"] for i in gone["items"]] == ["a0", "a2"]
    assert [i["metadata"]["name"] for i in (await world.call("GET", CMS))[1]["items"]] == ["a1"]


async def test_discovery_lists_what_is_served(world: World) -> None:
    await with_widgets(world.registry)
    _, groups = await world.call("GET", "/apis")
    assert GROUP in [g["name"] for g in groups["groups"]]
    _, found = await world.call("GET", f"/apis/{GROUP}/v1")
    assert [r["name"] for r in found["resources"]] == ["widgets", "widgets/status"]
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    _, aggregated = await world.call("GET", "/api", headers=accept)
    assert aggregated["kind"] == "APIGroupDiscoveryList"
    assert "pods" in [r["resource"] for r in aggregated["items"][0]["versions"][0]["resources"]]
    assert (await world.call("GET", "/apis/nothing.example/v1"))[:1] == (404,)


async def test_openapi_says_every_kind_and_that_fields_are_validated(world: World) -> None:
    await with_widgets(world.registry)
    _, index = await world.call("GET", "/openapi/v3")
    for path in index["paths"]:
        status, document = await world.call("GET", f"/openapi/v3/{path}")
        assert status == 200
        text = json.dumps(document)
        references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert references <= set(document["components"]["schemas"]), path
    item = document["paths"]
    _, widgets = await world.call("GET", f"/openapi/v3/apis/{GROUP}/v1")
    patch = widgets["paths"][f"/apis/{GROUP}/v1/namespaces/{{namespace}}/widgets/{{name}}"]["patch"]
    assert "fieldValidation" in [p["name"] for p in patch["parameters"]]
    assert patch["x-kubernetes-group-version-kind"] == {"group": GROUP, "version": "v1", "kind": "Widget"}
    assert item


@pytest.mark.parametrize(
    "path",
    [
        "/apis/apps/v1/namespaces/default/statefulsets",
        "/apis/storage.k8s.io/v1",
        "/api/v1/persistentvolumes",
        "/api/v1/namespaces/default/pods/p/exec",
        "/openapi/v2",
    ],
)
async def test_what_is_not_built_answers_501(world: World, path: str) -> None:
    status, answer = await world.call("GET", path)
    assert (status, answer["reason"]) == (501, "NotImplemented")


async def test_wrong_methods_and_places(world: World) -> None:
    assert (await world.call("PUT", CMS, {}))[0] == 405
    assert (await world.call("POST", f"{CMS}/a", {}))[0] in (404, 405)
    assert (await world.call("POST", "/api/v1/configmaps", config_map("a")))[0] == 405
    assert (await world.call("GET", "/api/v1/namespaces/default/nodes"))[0] == 404
    assert (await world.call("GET", "/nothing"))[0] == 404


async def test_health_needs_no_token_and_all_else_does(world: World) -> None:
    async with world.client.get("/readyz") as response:
        assert (response.status, await response.text()) == (200, "ok")
    async with world.client.get(CMS) as response:
        assert response.status == 403
    async with world.client.get(CMS, headers={"Authorization": "Bearer wrong"}) as response:
        assert response.status == 401


async def test_a_service_account_may_what_its_role_says(world: World) -> None:
    account = {"metadata": {"name": "op"}}
    await world.call("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    _, asked = await world.call("POST", "/api/v1/namespaces/default/serviceaccounts/op/token", {"spec": {}})
    bearer = {"Authorization": "Bearer " + asked["status"]["token"]}
    status, answer = await world.call("GET", CMS, headers=bearer)
    assert status == 403
    assert 'User "system:serviceaccount:default:op" cannot list resource "configmaps"' in answer["message"]
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["mine"]}]
    await world.call("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules})
    binding = {
        "metadata": {"name": "r"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "op", "namespace": "default"}],
    }
    await world.call("POST", f"{rbac}/rolebindings", binding)
    assert (await world.call("GET", f"{CMS}/mine", headers=bearer))[0] == 404
    assert (await world.call("GET", f"{CMS}/other", headers=bearer))[0] == 403
    review = {
        "spec": {
            "resourceAttributes": {"namespace": "default", "resource": "configmaps", "name": "mine", "verb": "get"}
        }
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await world.call("POST", path, review, headers=bearer))[1]["status"]["allowed"] is True
    who = await world.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers=bearer)
    assert who[1]["status"]["userInfo"]["username"] == "system:serviceaccount:default:op"
    as_op = {"Impersonate-User": "system:serviceaccount:default:op"}
    assert (await world.call("GET", f"{CMS}/other", headers=as_op))[0] == 403
    assert (await world.call("GET", CMS, headers={**bearer, "Impersonate-User": "someone"}))[0] == 403
    await world.call("DELETE", "/api/v1/namespaces/default/serviceaccounts/op")
    assert (await world.call("GET", f"{CMS}/mine", headers=bearer))[0] == 401


async def test_an_apply_that_creates_needs_the_right_to_create(world: World) -> None:
    await world.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "op"}})
    _, asked = await world.call("POST", "/api/v1/namespaces/default/serviceaccounts/op/token", {"spec": {}})
    bearer = {"Authorization": "Bearer " + asked["status"]["token"], "Content-Type": "application/apply-patch+yaml"}
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]
    await world.call("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules})
    subjects = [{"kind": "ServiceAccount", "name": "op", "namespace": "default"}]
    binding = {"metadata": {"name": "r"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": subjects}
    await world.call("POST", f"{rbac}/rolebindings", binding)
    path = f"{CMS}/a?fieldManager=m"
    status, answer = await world.call("PATCH", path, config_map("a", x="1"), headers=bearer)
    assert (status, 'cannot create resource "configmaps"' in answer["message"]) == (403, True)
    await world.call("POST", CMS, config_map("a", x="1"))
    assert (await world.call("PATCH", path, config_map("a", y="2"), headers=bearer))[0] == 200


async def test_logs(world: World) -> None:
    spec = {"containers": [{"name": "m", "image": "x"}]}
    await world.registry.create(PODS, "default", {"metadata": {"name": "p"}, "spec": spec})
    path = "/api/v1/namespaces/default/pods/p/log"
    assert (await world.call("GET", path))[0] == 400
    (world.folder / "p-m.log").write_text("one\ntwo\nthree\n")
    assert await world.call("GET", path) == (200, "one\ntwo\nthree\n")
    assert await world.call("GET", f"{path}?tailLines=2") == (200, "two\nthree\n")
    assert await world.call("GET", f"{path}?tailLines=0") == (200, "")
    assert await world.call("GET", f"{path}?limitBytes=5") == (200, "one\nt")
    assert (await world.call("GET", f"{path}?container=nobody"))[0] == 400
    for wrong in (
        "sinceSeconds=x",
        "sinceSeconds=0",
        "tailLines=-1",
        "sinceTime=then",
        "sinceTime=then&sinceSeconds=1",
    ):
        assert (await world.call("GET", f"{path}?{wrong}"))[0] == 400
    assert (await world.call("GET", f"{path}?previous=true"))[0] == 501


async def test_logs_by_time(world: World) -> None:
    spec = {"containers": [{"name": "m", "image": "x"}]}
    await world.registry.create(PODS, "default", {"metadata": {"name": "p"}, "spec": spec})
    path = "/api/v1/namespaces/default/pods/p/log"
    (world.folder / "p-m.log").write_text("one\ntwo\nthree\nfour")
    times = "0 2020-01-01T00:00:00.000000Z\n4 2021-01-01T00:00:00.000000Z\n14 2022-01-01T00:00:00.500000Z\n"
    (world.folder / "p-m.log.times").write_text(times)
    assert await world.call("GET", f"{path}?sinceTime=2020-06-01T00:00:00Z") == (200, "two\nthree\nfour")
    assert await world.call("GET", f"{path}?sinceTime=2023-01-01T00:00:00Z") == (200, "")
    assert await world.call("GET", f"{path}?sinceSeconds=60") == (200, "")
    assert await world.call("GET", f"{path}?sinceTime=2020-06-01T00:00:00Z&tailLines=1") == (200, "four")
    stamped = await world.call("GET", f"{path}?timestamps=true&tailLines=3")
    assert stamped[1].splitlines() == [
        "2021-01-01T00:00:00.000000Z two",
        "2021-01-01T00:00:00.000000Z three",
        "2022-01-01T00:00:00.500000Z four",
    ]


async def test_logs_are_followed_to_the_end(world: World) -> None:
    spec = {"containers": [{"name": "m", "image": "x"}]}
    await world.registry.create(PODS, "default", {"metadata": {"name": "p"}, "spec": spec})

    async def run() -> None:
        await asyncio.sleep(0.1)
        (world.folder / "p-m.log").write_text("one\n")
        await asyncio.sleep(0.3)
        with (world.folder / "p-m.log").open("a") as file:
            file.write("two\n")
        ended = {"containerStatuses": [{"name": "m", "state": {"terminated": {"exitCode": 0}}}]}
        await world.registry.patch(PODS, "default", "p", {"status": ended}, subresource="status")

    running = asyncio.ensure_future(run())
    answer = await world.call("GET", "/api/v1/namespaces/default/pods/p/log?follow=true")
    await running
    assert answer == (200, "one\ntwo\n")


async def test_eviction_marks_and_deletes(world: World) -> None:
    spec = {"containers": [{"name": "m", "image": "x"}]}
    await world.registry.create(PODS, "default", {"metadata": {"name": "p"}, "spec": spec})
    await world.registry.bind("default", "p", "here")
    status, _ = await world.call("POST", "/api/v1/namespaces/default/pods/p/eviction", {"metadata": {"name": "p"}})
    found = await world.registry.get(PODS, "default", "p")
    assert status == 201
    assert found["metadata"]["deletionTimestamp"]
    assert [c["reason"] for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"] == [
        "EvictionByEvictionAPI"
    ]
