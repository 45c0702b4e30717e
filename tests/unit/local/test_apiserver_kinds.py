"""What built-in kinds refuse and fill in, as tables keyed by what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import (
    CONFIG_MAPS,
    JOBS,
    LEASES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    PRIORITY_CLASSES,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICES,
    Resource,
)
from support.widgets import open_registry

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = open_registry()
    yield found
    found.close()


def pod_spec(**more: Any) -> dict[str, Any]:
    return {"restartPolicy": "Never", "containers": [{"name": "m", "image": "x"}], **more}


def job(**spec: Any) -> dict[str, Any]:
    indexed = {"completions": 3, "parallelism": 3, "completionMode": "Indexed"}
    return {"metadata": {"name": "j"}, "spec": {**indexed, "template": {"spec": pod_spec()}, **spec}}


EXIT_RULE = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}


def failure_rule(**rule: Any) -> dict[str, Any]:
    return {"podFailurePolicy": {"rules": [{**EXIT_RULE, **rule}]}}


JOB_REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "negative parallelism": ({"parallelism": -1}, "spec.parallelism", "FieldValueInvalid"),
    "unknown completion mode": ({"completionMode": "Odd"}, "spec.completionMode", "FieldValueNotSupported"),
    "Indexed without completions": ({"completions": None}, "spec.completions", "FieldValueRequired"),
    "per-index limit without Indexed": (
        {"completionMode": "NonIndexed", "backoffLimitPerIndex": 1},
        "spec.backoffLimitPerIndex",
        "FieldValueInvalid",
    ),
    "failed indexes without a per-index limit": (
        {"maxFailedIndexes": 1},
        "spec.backoffLimitPerIndex",
        "FieldValueRequired",
    ),
    "more failed indexes than indexes": (
        {"maxFailedIndexes": 4, "backoffLimitPerIndex": 0},
        "spec.maxFailedIndexes",
        "FieldValueInvalid",
    ),
    "replacement against a failure policy": (
        {**failure_rule(), "podReplacementPolicy": "TerminatingOrFailed"},
        "spec.podReplacementPolicy",
        "FieldValueNotSupported",
    ),
    "FailIndex without a per-index limit": (
        failure_rule(action="FailIndex"),
        "spec.podFailurePolicy.rules[0].action",
        "FieldValueInvalid",
    ),
    "unknown action": (failure_rule(action="Panic"), "spec.podFailurePolicy.rules[0].action", "FieldValueNotSupported"),
    "no exit codes": (
        failure_rule(onExitCodes={"operator": "In", "values": []}),
        "spec.podFailurePolicy.rules[0].onExitCodes.values",
        "FieldValueInvalid",
    ),
    "exit code zero": (
        failure_rule(onExitCodes={"operator": "In", "values": [0]}),
        "spec.podFailurePolicy.rules[0].onExitCodes.values[0]",
        "FieldValueInvalid",
    ),
    "an exit code twice": (
        failure_rule(onExitCodes={"operator": "In", "values": [3, 3]}),
        "spec.podFailurePolicy.rules[0].onExitCodes.values[1]",
        "FieldValueDuplicate",
    ),
    "unordered exit codes": (
        failure_rule(onExitCodes={"operator": "In", "values": [4, 3]}),
        "spec.podFailurePolicy.rules[0].onExitCodes.values",
        "FieldValueInvalid",
    ),
    "a container that is not there": (
        failure_rule(onExitCodes={"operator": "In", "values": [1], "containerName": "other"}),
        "spec.podFailurePolicy.rules[0].onExitCodes.containerName",
        "FieldValueInvalid",
    ),
    "a rule of nothing": (
        {"podFailurePolicy": {"rules": [{"action": "Ignore"}]}},
        "spec.podFailurePolicy.rules[0]",
        "FieldValueInvalid",
    ),
    "a success policy without Indexed": (
        {"completionMode": "NonIndexed", "successPolicy": {"rules": [{"succeededCount": 1}]}},
        "spec.successPolicy",
        "FieldValueInvalid",
    ),
    "a success policy without rules": (
        {"successPolicy": {"rules": []}},
        "spec.successPolicy.rules",
        "FieldValueRequired",
    ),
    "an index that is not there": (
        {"successPolicy": {"rules": [{"succeededIndexes": "0-7"}]}},
        "spec.successPolicy.rules[0].succeededIndexes",
        "FieldValueInvalid",
    ),
    "restartPolicy left to its default": (
        {"template": {"spec": {"containers": [{"name": "m", "image": "x"}]}}},
        "spec.template.spec.restartPolicy",
        "FieldValueRequired",
    ),
    "restartPolicy against a failure policy": (
        {**failure_rule(), "template": {"spec": pod_spec(restartPolicy="OnFailure")}},
        "spec.template.spec.restartPolicy",
        "FieldValueInvalid",
    ),
    "no image": (
        {"template": {"spec": pod_spec(containers=[{"name": "m"}])}},
        "spec.template.spec.containers[0].image",
        "FieldValueRequired",
    ),
}


async def causes(awaitable: Any) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == 422, caught.value.message
    return [(c["field"], c["reason"]) for c in (caught.value.details or {})["causes"]]


@pytest.mark.parametrize("what", JOB_REFUSALS)
async def test_jobs_refuse(registry: Registry, what: str) -> None:
    change, field, reason = JOB_REFUSALS[what]
    assert await causes(registry.create(JOBS, "default", job(**change))) == [(field, reason)]


async def test_an_indexed_job_s_name_must_leave_room_for_hostnames(registry: Registry) -> None:
    long = job()
    long["metadata"]["name"] = "n" * 62
    assert await causes(registry.create(JOBS, "default", long)) == [("metadata.name", "FieldValueInvalid")]
    long["metadata"]["name"] = "n" * 61
    await registry.create(JOBS, "default", long)


async def test_jobs_are_filled_in(registry: Registry) -> None:
    plain = {"metadata": {"name": "a"}, "spec": {"template": {"metadata": {"labels": {"x": "y"}}, "spec": pod_spec()}}}
    spec = (await registry.create(JOBS, "default", plain))["spec"]
    assert {k: spec[k] for k in ("completions", "parallelism", "backoffLimit", "completionMode", "suspend")} == {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
    }
    assert spec["podReplacementPolicy"] == "TerminatingOrFailed"
    assert spec["template"]["spec"]["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    per_index = await registry.create(JOBS, "default", job(backoffLimitPerIndex=2, **failure_rule()))
    assert (per_index["spec"]["backoffLimit"], per_index["spec"]["podReplacementPolicy"]) == (2147483647, "Failed")


@pytest.mark.parametrize(
    ("what", "change", "fields"),
    [
        ("the template", {"spec": {"template": {"spec": {"priorityClassName": "x"}}}}, ["spec.template"]),
        ("completions alone", {"spec": {"completions": 9}}, ["spec.completions"]),
        ("the mode", {"spec": {"completionMode": "NonIndexed"}}, ["spec.completionMode"]),
        ("the policy", {"spec": failure_rule()}, ["spec.podFailurePolicy", "spec.podReplacementPolicy"]),
    ],
)
async def test_jobs_stay_as_they_are(registry: Registry, what: str, change: dict[str, Any], fields: list[str]) -> None:
    await registry.create(JOBS, "default", job())
    assert [f for f, _ in await causes(registry.patch(JOBS, "default", "j", change))] == fields


async def test_a_job_may_be_resized_and_a_suspended_one_steered(registry: Registry) -> None:
    await registry.create(JOBS, "default", job(suspend=True))
    sized = await registry.patch(JOBS, "default", "j", {"spec": {"completions": 5, "parallelism": 5}})
    assert (sized["spec"]["completions"], sized["metadata"]["generation"]) == (5, 2)
    steer = {"spec": {"template": {"spec": {"nodeSelector": {"pool": "spot"}}}}}
    assert (await registry.patch(JOBS, "default", "j", steer))["metadata"]["generation"] == 3
    await registry.patch(JOBS, "default", "j", {"spec": {"suspend": False}})
    await registry.patch(JOBS, "default", "j", {"status": {"startTime": "2026-01-01T00:00:00Z"}}, subresource="status")
    again = {"spec": {"template": {"spec": {"nodeSelector": {"pool": "other"}}}}}
    assert await causes(registry.patch(JOBS, "default", "j", again)) == [("spec.template", "FieldValueInvalid")]


POD_REFUSALS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no containers": ({"containers": []}, ["spec.containers"]),
    "two containers of a name": (
        {"containers": [{"name": "m", "image": "x"}, {"name": "m", "image": "x"}]},
        ["spec.containers[1].name"],
    ),
    "a mount of no volume": (
        {"containers": [{"name": "m", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
        ["spec.containers[0].volumeMounts[0].name"],
    ),
    "a volume of two kinds": (
        {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]},
        ["spec.volumes[0].secret"],
    ),
    "a quantity that is none": (
        {"containers": [{"name": "m", "image": "x", "resources": {"limits": {"cpu": "lots"}}}]},
        ["spec.containers[0].resources.limits[cpu]", "spec.containers[0].resources.requests[cpu]"],
    ),
    "a fraction of a GPU": (
        {"containers": [{"name": "m", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "0.5"}}}]},
        [
            "spec.containers[0].resources.limits[nvidia.com/gpu]",
            "spec.containers[0].resources.requests[nvidia.com/gpu]",
        ],
    ),
    "more asked for than allowed": (
        {"containers": [{"name": "m", "image": "x", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}]},
        ["spec.containers[0].resources.requests"],
    ),
    "an unknown restartPolicy": ({"restartPolicy": "Sometimes"}, ["spec.restartPolicy"]),
    "a secret key without a name": (
        {
            "containers": [
                {"name": "m", "image": "x", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "k"}}}]}
            ]
        },
        ["spec.containers[0].env[0].valueFrom.secretKeyRef.name"],
    ),
}


@pytest.mark.parametrize("what", POD_REFUSALS)
async def test_pods_refuse(registry: Registry, what: str) -> None:
    change, fields = POD_REFUSALS[what]
    found = await causes(registry.create(PODS, "default", {"metadata": {"name": "p"}, "spec": pod_spec(**change)}))
    assert [f for f, _ in found] == fields


def lease(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "l"}, "spec": spec}


OTHERS: dict[str, tuple[Resource, dict[str, Any], list[str]]] = {
    "a lease of no time": (LEASES, lease(holderIdentity="a", leaseDurationSeconds=0), ["spec.leaseDurationSeconds"]),
    "a key with a space": (CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a b": "1"}}, ["data[a b]"]),
    "a TLS secret without its key": (
        SECRETS,
        {"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}},
        ["data[tls.key]"],
    ),
    "a rule without verbs": (
        ROLES,
        {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"]}]},
        ["rules[0].verbs"],
    ),
    "a binding of no role": (
        ROLE_BINDINGS,
        {"metadata": {"name": "r"}, "roleRef": {"kind": "Role"}},
        ["roleRef.name"],
    ),
    "a priority for the system alone": (
        PRIORITY_CLASSES,
        {"metadata": {"name": "p"}, "value": 2_000_000_000},
        ["value"],
    ),
    "two ports without names": (
        SERVICES,
        {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}, {"port": 2}]}},
        ["spec.ports[0].name", "spec.ports[1].name"],
    ),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_other_kinds_refuse(registry: Registry, what: str) -> None:
    resource, obj, fields = OTHERS[what]
    namespace = "default" if resource.namespaced else None
    assert [f for f, _ in await causes(registry.create(resource, namespace, obj))] == fields


async def test_what_is_not_built_is_said(registry: Registry) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    with pytest.raises(ApiError, match="does not implement Services of type NodePort") as caught:
        await registry.create(SERVICES, "default", service)
    assert caught.value.code == 501


async def test_a_pod_needs_its_priority_class_and_its_service_account(registry: Registry) -> None:
    def pod(**spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": "p"}, "spec": pod_spec(**spec)}

    for what, said in (
        ("priorityClassName", "no PriorityClass"),
        ("serviceAccountName", "error looking up service account"),
    ):
        with pytest.raises(ApiError, match=said) as caught:
            await registry.create(PODS, "default", pod(**{what: "gold"}))
        assert caught.value.code == 403
    await registry.create(PRIORITY_CLASSES, None, {"metadata": {"name": "gold"}, "value": 7})
    assert (await registry.create(PODS, "default", pod(priorityClassName="gold")))["spec"]["priority"] == 7


async def test_a_claim_is_bound_at_once(registry: Registry) -> None:
    claim = {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made = await registry.create(PERSISTENT_VOLUME_CLAIMS, "default", claim)
    assert (made["status"]["phase"], made["status"]["capacity"]) == ("Bound", {"storage": "1Gi"})
    other = {"metadata": {"name": "d"}, "spec": {"storageClassName": "fast"}}
    assert [f for f, _ in await causes(registry.create(PERSISTENT_VOLUME_CLAIMS, "default", other))] == [
        "spec.accessModes",
        "spec.resources[storage]",
        "spec.storageClassName",
    ]


async def test_an_immutable_config_map_stays(registry: Registry) -> None:
    await registry.create(CONFIG_MAPS, "default", {"metadata": {"name": "c"}, "data": {"a": "1"}, "immutable": True})
    assert await causes(registry.patch(CONFIG_MAPS, "default", "c", {"data": {"a": "2"}})) == [
        ("data", "FieldValueForbidden")
    ]


@pytest.mark.parametrize(
    ("what", "body", "said"),
    [
        ("a number as text", {"spec": {"completions": "3"}}, "spec.completions of type int32"),
        (
            "text as a number",
            {"spec": {"template": {"spec": {"hostname": 3}}}},
            "spec.template.spec.hostname of type string",
        ),
        ("a list as an object", {"spec": []}, "spec of type struct"),
        ("a fraction", {"spec": {"completions": 1.5}}, "number 1.5"),
        ("too large", {"spec": {"completions": 2**40}}, "of type int32"),
        ("no time", {"status": {"startTime": "yesterday"}}, 'parsing time "yesterday"'),
        ("another kind", {"kind": "Pod"}, 'no kind "Pod" is registered'),
    ],
)
async def test_what_cannot_be_read_is_said_with_its_path(
    registry: Registry, what: str, body: dict[str, Any], said: str
) -> None:
    obj = copy.deepcopy({"metadata": {"name": "j"}, **body})
    with pytest.raises(ApiError) as caught:
        await registry.create(JOBS, "default", obj)
    assert caught.value.code == 400
    assert said in caught.value.message
