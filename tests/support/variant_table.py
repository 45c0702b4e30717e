"""The variants, in groups; each group has a namespace of its own and is done in order."""

from __future__ import annotations

import copy
from typing import Any

from support.variants import APPLY, JSON_PATCH, MERGE, STRATEGIC, Variant

CM = "/api/v1/NS/configmaps"
SECRETS = "/api/v1/NS/secrets"
PODS = "/api/v1/NS/pods"
SERVICES = "/api/v1/NS/services"
ACCOUNTS = "/api/v1/NS/serviceaccounts"
JOBS = "/apis/batch/v1/NS/jobs"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
DEPLOYMENTS = "/apis/apps/v1/NS/deployments"
Json = dict[str, Any]


def named(name: str, **rest: Any) -> Json:
    return {"metadata": {"name": name}, **rest}


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> Json:
    containers = [{"name": "main", "image": "busybox:1"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def job(name: str, template: Json | None = None, **spec: Any) -> Json:
    inner = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}], **(template or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, **spec, "template": {"spec": inner}},
    }


def deployment(name: str, **spec: Any) -> Json:
    template = {"metadata": {"labels": {"app": name}}, "spec": pod(name)["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def with_(obj: Json, path: str, value: Any) -> Json:
    """A copy with one value replaced; the path's numbers are positions in lists."""
    result = copy.deepcopy(obj)
    at: Any = result
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        at = at[part]
    at[last] = value
    return result


def container(**fields: Any) -> Json:
    return {"name": "main", "image": "busybox:1", **fields}


INVALID = {"code": 422, "reason": "Invalid"}

METADATA = [
    Variant(
        "a label's key is checked",
        f"POST {CM}",
        with_(config_map("a"), "metadata", {"name": "a", "labels": {"a b": "c"}}),
        fields=("metadata.labels",),
        **INVALID,
    ),
    Variant(
        "a label's value is checked",
        f"POST {CM}",
        with_(config_map("a"), "metadata", {"name": "a", "labels": {"a": "-"}}),
        fields=("metadata.labels",),
        **INVALID,
    ),
    Variant(
        "an annotation's key is checked",
        f"POST {CM}",
        with_(config_map("a"), "metadata", {"name": "a", "annotations": {"a b": "c"}}),
        fields=("metadata.annotations",),
        **INVALID,
    ),
    Variant(
        "a finalizer is qualified",
        f"POST {CM}",
        with_(config_map("a"), "metadata", {"name": "a", "finalizers": ["nope"]}),
        fields=("metadata.finalizers[0]",),
        **INVALID,
    ),
    Variant(
        "an owner has a uid",
        f"POST {CM}",
        with_(
            config_map("a"),
            "metadata",
            {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]},
        ),
        fields=("metadata.ownerReferences[0].uid",),
        **INVALID,
    ),
    Variant(
        "an Event owns nothing",
        f"POST {CM}",
        with_(
            config_map("a"),
            "metadata",
            {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "p", "uid": "u"}]},
        ),
        fields=("metadata.ownerReferences[0]",),
        **INVALID,
    ),
    Variant(
        "one controller",
        f"POST {CM}",
        with_(
            config_map("a"),
            "metadata",
            {
                "name": "a",
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": n, "uid": n, "controller": True} for n in "ab"
                ],
            },
        ),
        fields=("metadata.ownerReferences",),
        **INVALID,
    ),
    Variant("no name at all", f"POST {CM}", {"data": {}}, fields=("metadata.name",), **INVALID),
    Variant(
        "generateName is shortened",
        f"POST {CM}",
        {"metadata": {"generateName": "g" * 70}},
        code=201,
        find={"length(metadata.name)": 63},
    ),
    Variant(
        "a resourceVersion is not for new objects",
        f"POST {CM}",
        {"metadata": {"name": "rv", "resourceVersion": "7"}},
        code=500,
    ),
    Variant(
        "system fields of a client are dropped",
        f"POST {CM}",
        {
            "metadata": {
                "name": "sys",
                "uid": "mine",
                "generation": 9,
                "creationTimestamp": "2001-01-01T00:00:00Z",
                "deletionTimestamp": "2001-01-01T00:00:00Z",
            }
        },
        code=201,
        find={"metadata.generation": None, "metadata.deletionTimestamp": None, "metadata.uid == 'mine'": False},
    ),
    Variant(
        "a wrong apiVersion",
        f"POST {CM}",
        {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}},
        code=400,
        reason="BadRequest",
    ),
    Variant(
        "a wrong kind",
        f"POST {CM}",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}},
        code=400,
        reason="BadRequest",
    ),
    Variant(
        "unknown fields are warned of by default",
        f"POST {CM}",
        {"metadata": {"name": "w"}, "nonsense": 1},
        code=201,
        find={"contains(keys(@), 'nonsense')": False},
    ),
    Variant(
        "unknown metadata, strict",
        f"POST {CM}",
        {"metadata": {"name": "w2", "nonsense": 1}},
        code=400,
        reason="BadRequest",
        query={"fieldValidation": "Strict"},
    ),
    Variant(
        "an unknown validation",
        f"POST {CM}",
        config_map("w3"),
        query={"fieldValidation": "Loose"},
        fields=("fieldValidation",),
        **INVALID,
    ),
    Variant(
        "an unknown dry run", f"POST {CM}", config_map("w3"), query={"dryRun": "Some"}, fields=("dryRun",), **INVALID
    ),
    Variant(
        "force without apply", f"PATCH {CM}/w", {}, type=MERGE, query={"force": "true"}, fields=("force",), **INVALID
    ),
    Variant(
        "an annotation that is no string",
        f"POST {CM}",
        {"metadata": {"name": "an", "annotations": {"a": 1}}},
        code=400,
        reason="BadRequest",
    ),
    Variant("an empty body", f"POST {CM}", "", code=400, reason="BadRequest"),
    Variant("a name too long", f"POST {CM}", config_map("n" * 254), fields=("metadata.name",), **INVALID),
    Variant("a list posted", f"POST {CM}", [], code=400, reason="BadRequest"),
    Variant(
        "PUT of another namespace",
        f"PUT {CM}/w",
        {"metadata": {"name": "w", "namespace": "elsewhere"}},
        code=400,
        reason="BadRequest",
    ),
    Variant("PUT creates no ConfigMap", f"PUT {CM}/absent", config_map("absent"), code=404, reason="NotFound"),
    Variant(
        "labels cannot be removed by null in PUT but by absence",
        f"PUT {CM}/w",
        config_map("w", a="1"),
        find={"data": {"a": "1"}},
    ),
    Variant("a created object", f"POST {CM}", config_map("mf", a="1"), code=201, query={"fieldManager": "me"}),
    Variant(
        "is its maker's",
        f"GET {CM}/mf",
        find={
            "metadata.managedFields[0].fieldsV1": {"f:data": {".": {}, "f:a": {}}},
            "metadata.managedFields[0].operation": "Update",
        },
    ),
]

CORE = [
    Variant("a key with a blank", f"POST {CM}", config_map("a", **{"a b": "1"}), fields=("data[a b]",), **INVALID),
    Variant(
        "data is strings", f"POST {CM}", {"metadata": {"name": "a"}, "data": {"a": 1}}, code=400, reason="BadRequest"
    ),
    Variant(
        "binary data is base64",
        f"POST {CM}",
        {"metadata": {"name": "a"}, "binaryData": {"a": "%%"}},
        code=400,
        reason="BadRequest",
    ),
    Variant("too much data", f"POST {CM}", config_map("a", a="x" * 1048577), fields=("",), **INVALID),
    Variant("an immutable ConfigMap", f"POST {CM}", {**config_map("im", a="1"), "immutable": True}, code=201),
    Variant("keeps its data", f"PATCH {CM}/im", {"data": {"a": "2"}}, type=MERGE, fields=("data",), **INVALID),
    Variant(
        "and stays immutable", f"PATCH {CM}/im", {"immutable": False}, type=MERGE, fields=("immutable",), **INVALID
    ),
    Variant(
        "but takes labels",
        f"PATCH {CM}/im",
        {"metadata": {"labels": {"a": "b"}}},
        type=MERGE,
        find={"metadata.labels": {"a": "b"}},
    ),
    Variant(
        "a Secret's type is kept",
        f"POST {SECRETS}",
        {**named("s"), "stringData": {"a": "b"}},
        code=201,
        find={"type": "Opaque", "data.a": "Yg==", "contains(keys(@), 'stringData')": False},
    ),
    Variant("and cannot change", f"PATCH {SECRETS}/s", {"type": "other"}, type=MERGE, fields=("type",), **INVALID),
    Variant(
        "a TLS Secret has both",
        f"POST {SECRETS}",
        {**named("t"), "type": "kubernetes.io/tls"},
        fields=("data[tls.crt]", "data[tls.key]"),
        **INVALID,
    ),
    Variant(
        "a Docker config is JSON",
        f"POST {SECRETS}",
        {**named("d"), "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "nope"}},
        fields=("data[.dockerconfigjson]",),
        **INVALID,
    ),
    Variant(
        "a token Secret names its account",
        f"POST {SECRETS}",
        {**named("tk"), "type": "kubernetes.io/service-account-token"},
        fields=("metadata.annotations[kubernetes.io/service-account.name]",),
        **INVALID,
    ),
    Variant(
        "basic auth needs one of two",
        f"POST {SECRETS}",
        {**named("ba"), "type": "kubernetes.io/basic-auth"},
        fields=("data[username]", "data[password]"),
        **INVALID,
    ),
    Variant(
        "Secrets by type",
        f"GET {SECRETS}",
        query={"fieldSelector": "type=Opaque"},
        find={"items[].metadata.name": ["s"]},
    ),
    Variant(
        "a field that is no selector", f"GET {CM}", query={"fieldSelector": "data.a=1"}, code=400, reason="BadRequest"
    ),
    Variant(
        "a namespace is a label", "POST /api/v1/namespaces", named("Not.One"), fields=("metadata.name",), **INVALID
    ),
    Variant("the default account is there", f"GET {ACCOUNTS}/default", find={"kind": "ServiceAccount"}),
    Variant("deleting answers with the account", f"DELETE {ACCOUNTS}/default", find={"kind": "ServiceAccount"}),
    Variant(
        "deleting a ConfigMap answers with a Status",
        f"DELETE {CM}/im",
        find={"kind": "Status", "status": "Success", "details.kind": "configmaps"},
    ),
    Variant(
        "a lease of no duration",
        "POST /apis/coordination.k8s.io/v1/NS/leases",
        named("l", spec={"holderIdentity": "a", "leaseDurationSeconds": 0}),
        fields=("spec.leaseDurationSeconds",),
        **INVALID,
    ),
    Variant(
        "renewTime has microseconds",
        "POST /apis/coordination.k8s.io/v1/NS/leases",
        named("l", spec={"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00Z"}),
        code=201,
        find={"spec.renewTime": "2026-01-01T00:00:00.000000Z"},
    ),
    Variant(
        "a lease needs its version",
        "PUT /apis/coordination.k8s.io/v1/NS/leases/l",
        named("l", spec={}),
        fields=("metadata.resourceVersion",),
        **INVALID,
    ),
    Variant("a Service needs ports", f"POST {SERVICES}", named("p", spec={}), fields=("spec.ports",), **INVALID),
    Variant(
        "a Service gets an address",
        f"POST {SERVICES}",
        named("p", spec={"ports": [{"port": 80}]}),
        code=201,
        find={
            "starts_with(spec.clusterIP, '10.96.')": True,
            "spec.ports[0].targetPort": 80,
            "spec.clusterIPs[0] == spec.clusterIP": True,
        },
    ),
    Variant(
        "and keeps it",
        f"PUT {SERVICES}/p",
        named("p", spec={"ports": [{"port": 81}]}),
        find={"starts_with(spec.clusterIP, '10.96.')": True, "spec.ports[0].port": 81},
    ),
    Variant("for ever", f"PATCH {SERVICES}/p", {"spec": {"clusterIP": "None"}}, type=MERGE, code=422, reason="Invalid"),
    Variant(
        "names of several ports",
        f"POST {SERVICES}",
        named("q", spec={"ports": [{"port": 80}, {"port": 81}]}),
        fields=("spec.ports[0].name", "spec.ports[1].name"),
        **INVALID,
    ),
    Variant(
        "a Service's name begins with a letter",
        f"POST {SERVICES}",
        named("1q", spec={"clusterIP": "None"}),
        fields=("metadata.name",),
        **INVALID,
    ),
    Variant(
        "an address out of range",
        f"POST {SERVICES}",
        named("r", spec={"clusterIP": "1.2.3.4", "ports": [{"port": 80}]}),
        fields=("spec.clusterIPs",),
        **INVALID,
    ),
]

STRATEGIC_PATCHES = [
    Variant(
        "a Deployment",
        f"POST {DEPLOYMENTS}",
        with_(
            deployment("d"),
            "spec.template.spec.containers",
            [
                container(
                    env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    args=["x"],
                    ports=[{"containerPort": 80}],
                ),
                {"name": "side", "image": "busybox:1"},
            ],
        ),
        code=201,
        find={
            "spec.replicas": 1,
            "spec.strategy.rollingUpdate.maxSurge": "25%",
            "metadata.generation": 1,
            "spec.template.spec.containers[0].imagePullPolicy": "IfNotPresent",
        },
    ),
    Variant(
        "containers merge by name",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}}},
        type=STRATEGIC,
        find={"spec.template.spec.containers[].image": ["busybox:2", "busybox:1"], "metadata.generation": 2},
    ),
    Variant(
        "variables merge by name",
        f"PATCH {DEPLOYMENTS}/d",
        {
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {"name": "main", "env": [{"name": "C", "value": "3"}, {"name": "A", "$patch": "delete"}]}
                        ]
                    }
                }
            }
        },
        type=STRATEGIC,
        find={"spec.template.spec.containers[0].env[].name": ["B", "C"]},
    ),
    Variant(
        "arguments are replaced",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"template": {"spec": {"containers": [{"name": "main", "args": ["y", "z"]}]}}}},
        type=STRATEGIC,
        find={"spec.template.spec.containers[0].args": ["y", "z"]},
    ),
    Variant(
        "an order of elements",
        f"PATCH {DEPLOYMENTS}/d",
        {
            "spec": {
                "template": {
                    "spec": {
                        "$setElementOrder/containers": [{"name": "side"}, {"name": "main"}],
                        "containers": [{"name": "side", "image": "busybox:3"}],
                    }
                }
            }
        },
        type=STRATEGIC,
        find={"spec.template.spec.containers[].name": ["side", "main"]},
    ),
    Variant(
        "a list replaced",
        f"PATCH {DEPLOYMENTS}/d",
        {
            "spec": {
                "template": {"spec": {"containers": [{"$patch": "replace"}, {"name": "only", "image": "busybox:9"}]}}
            }
        },
        type=STRATEGIC,
        find={"spec.template.spec.containers[].name": ["only"]},
    ),
    Variant(
        "an item without its key",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"template": {"spec": {"containers": [{"image": "busybox:9"}]}}}},
        type=STRATEGIC,
        code=500,
    ),
    Variant(
        "a map replaced",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"template": {"metadata": {"labels": {"$patch": "replace", "app": "d"}}}}},
        type=STRATEGIC,
        find={"spec.template.metadata.labels": {"app": "d"}},
    ),
    Variant(
        "retained keys",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
        type=STRATEGIC,
        find={"spec.strategy": {"type": "Recreate"}},
    ),
    Variant(
        "a rolling update of Recreate",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}},
        type=STRATEGIC,
        fields=("spec.strategy.rollingUpdate",),
        **INVALID,
    ),
    Variant(
        "finalizers are a set",
        f"PATCH {DEPLOYMENTS}/d",
        {"metadata": {"finalizers": ["a.example/x", "a.example/y"]}},
        type=STRATEGIC,
        find={"metadata.finalizers": ["a.example/x", "a.example/y"]},
    ),
    Variant(
        "one is taken from it",
        f"PATCH {DEPLOYMENTS}/d",
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.example/x"]}},
        type=STRATEGIC,
        find={"metadata.finalizers": ["a.example/y"]},
    ),
    Variant(
        "and one added",
        f"PATCH {DEPLOYMENTS}/d",
        {"metadata": {"finalizers": ["a.example/z"]}},
        type=STRATEGIC,
        find={"sort(metadata.finalizers)": ["a.example/y", "a.example/z"]},
    ),
    Variant(
        "an annotation counts as a change of the wish",
        f"PATCH {DEPLOYMENTS}/d",
        {"metadata": {"annotations": {"a": "b"}, "finalizers": None}},
        type=MERGE,
        find={"metadata.generation": 8},
    ),
    Variant(
        "the selector is fixed",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"selector": {"matchLabels": {"app": "e"}}, "template": {"metadata": {"labels": {"app": "e"}}}}},
        type=MERGE,
        fields=("spec.selector",),
        **INVALID,
    ),
    Variant(
        "an unknown directive", f"PATCH {DEPLOYMENTS}/d", {"spec": {"$patch": "nonsense"}}, type=STRATEGIC, code=500
    ),
    Variant(
        "status does not come in by the main path",
        f"PATCH {DEPLOYMENTS}/d",
        {"status": {"replicas": 7}},
        type=MERGE,
        find={"status.replicas": None},
    ),
    Variant(
        "but by its own",
        f"PATCH {DEPLOYMENTS}/d/status",
        {"status": {"replicas": 7}, "spec": {"replicas": 9}},
        type=MERGE,
        find={"status.replicas": 7, "spec.replicas": 1},
    ),
    Variant(
        "a JSON patch may test",
        f"PATCH {DEPLOYMENTS}/d",
        [{"op": "test", "path": "/spec/replicas", "value": 2}],
        type=JSON_PATCH,
        **INVALID,
    ),
    Variant(
        "a JSON patch to a place that is not there",
        f"PATCH {DEPLOYMENTS}/d",
        [{"op": "replace", "path": "/spec/nothing/x", "value": 2}],
        type=JSON_PATCH,
        **INVALID,
    ),
    Variant(
        "a JSON patch copies",
        f"PATCH {DEPLOYMENTS}/d",
        [{"op": "copy", "from": "/metadata/annotations/a", "path": "/metadata/annotations/c"}],
        type=JSON_PATCH,
        find={"metadata.annotations": {"a": "b", "c": "b"}},
    ),
    Variant(
        "a JSON patch that is no list",
        f"PATCH {DEPLOYMENTS}/d",
        {"op": "add"},
        type=JSON_PATCH,
        code=400,
        reason="BadRequest",
    ),
    Variant(
        "a name by patch",
        f"PATCH {DEPLOYMENTS}/d",
        {"metadata": {"name": "other"}},
        type=MERGE,
        code=400,
        reason="BadRequest",
    ),
    Variant("a field by a wrong type", f"PATCH {DEPLOYMENTS}/d", {"spec": {"replicas": "many"}}, type=MERGE, **INVALID),
    Variant(
        "an unknown field, strict",
        f"PATCH {DEPLOYMENTS}/d",
        {"spec": {"nonsense": 1}},
        type=MERGE,
        query={"fieldValidation": "Strict"},
        **INVALID,
    ),
]

APPLIES = [
    Variant(
        "apply creates",
        f"PATCH {CM}/a",
        config_map("a", x="1", y="1"),
        type=APPLY,
        query={"fieldManager": "alice"},
        code=201,
        find={
            "metadata.managedFields[].[manager, operation, fieldsV1]": [
                ["alice", "Apply", {"f:data": {"f:x": {}, "f:y": {}}}]
            ]
        },
    ),
    Variant(
        "a second manager shares a field of one value",
        f"PATCH {CM}/a",
        config_map("a", x="1"),
        type=APPLY,
        query={"fieldManager": "bob"},
        find={"metadata.managedFields[].manager": ["alice", "bob"]},
    ),
    Variant(
        "and conflicts with another value",
        f"PATCH {CM}/a",
        config_map("a", x="2"),
        type=APPLY,
        query={"fieldManager": "bob"},
        code=409,
        reason="Conflict",
        fields=(".data.x",),
    ),
    Variant(
        "what one gives up the other keeps",
        f"PATCH {CM}/a",
        config_map("a"),
        type=APPLY,
        query={"fieldManager": "bob"},
        find={"data": {"x": "1", "y": "1"}},
    ),
    Variant(
        "what the last gives up goes",
        f"PATCH {CM}/a",
        config_map("a", x="1"),
        type=APPLY,
        query={"fieldManager": "alice"},
        find={"data": {"x": "1"}},
    ),
    Variant(
        "an update takes ownership",
        f"PATCH {CM}/a",
        {"data": {"x": "3"}},
        type=MERGE,
        query={"fieldManager": "carol"},
        find={
            "data": {"x": "3"},
            "metadata.managedFields[?manager=='carol'].operation": ["Update"],
            "metadata.managedFields[?manager=='alice'].manager": [],
        },
    ),
    Variant(
        "over which an apply conflicts",
        f"PATCH {CM}/a",
        config_map("a", x="1"),
        type=APPLY,
        query={"fieldManager": "alice"},
        code=409,
        reason="Conflict",
        fields=(".data.x",),
    ),
    Variant(
        "until it is forced",
        f"PATCH {CM}/a",
        config_map("a", x="1"),
        type=APPLY,
        query={"fieldManager": "alice", "force": "true"},
        find={
            "data": {"x": "1"},
            "metadata.managedFields[].[manager, operation]": [["alice", "Apply"], ["bob", "Apply"]],
        },
    ),
    Variant(
        "apply over another's resourceVersion",
        f"PATCH {CM}/a",
        with_(config_map("a", x="9"), "metadata", {"name": "a", "resourceVersion": "1"}),
        type=APPLY,
        query={"fieldManager": "alice"},
        code=409,
        reason="Conflict",
    ),
    Variant(
        "apply without a kind",
        f"PATCH {CM}/a",
        {"metadata": {"name": "a"}},
        type=APPLY,
        query={"fieldManager": "alice"},
        code=400,
    ),
    Variant(
        "apply without a manager", f"PATCH {CM}/a", config_map("a"), type=APPLY, fields=("fieldManager",), **INVALID
    ),
    Variant(
        "apply of an undeclared field",
        f"PATCH {CM}/a",
        {**config_map("a"), "nonsense": 1},
        type=APPLY,
        query={"fieldManager": "alice"},
        code=500,
    ),
    Variant(
        "apply a Service: ports are a map of port and protocol",
        f"PATCH {SERVICES}/s",
        {
            "apiVersion": "v1",
            "kind": "Service",
            **named("s", spec={"clusterIP": "None", "ports": [{"port": 80, "name": "a"}]}),
        },
        type=APPLY,
        query={"fieldManager": "alice"},
        code=201,
        find={
            'metadata.managedFields[0].fieldsV1."f:spec"."f:ports"': {
                'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}
            }
        },
    ),
    Variant(
        "another manager adds a port",
        f"PATCH {SERVICES}/s",
        {"apiVersion": "v1", "kind": "Service", **named("s", spec={"ports": [{"port": 81, "name": "b"}]})},
        type=APPLY,
        query={"fieldManager": "bob"},
        find={"spec.ports[].port": [80, 81]},
    ),
    Variant(
        "a dry run leaves nothing",
        f"PATCH {CM}/dry",
        config_map("dry", x="1"),
        type=APPLY,
        query={"fieldManager": "alice", "dryRun": "All"},
        code=201,
        find={"data": {"x": "1"}},
    ),
    Variant("nothing", f"GET {CM}/dry", code=404, reason="NotFound"),
    Variant(
        "the default service account and defaults are nobody's",
        f"PATCH {PODS}/p",
        pod("p"),
        type=APPLY,
        query={"fieldManager": "alice"},
        code=201,
        find={
            "metadata.managedFields[].fieldsV1": [
                {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}}}
            ]
        },
    ),
    Variant(
        "duplicate keys in an applied list",
        f"PATCH {PODS}/q",
        pod("q", containers=[container(), container()]),
        type=APPLY,
        query={"fieldManager": "alice"},
        code=500,
    ),
    Variant(
        "managed fields are cleared by an empty list",
        f"PATCH {CM}/a",
        {"metadata": {"managedFields": [{}]}},
        type=MERGE,
        query={"fieldManager": "alice"},
        find={"metadata.managedFields": None},
    ),
    Variant(
        "a created pod's owner owns its defaults, not what admission adds",
        f"POST {PODS}",
        pod("made"),
        query={"fieldManager": "maker"},
        code=201,
        find={
            'sort(keys(metadata.managedFields[0].fieldsV1."f:spec"))': [
                "f:containers",
                "f:dnsPolicy",
                "f:enableServiceLinks",
                "f:restartPolicy",
                "f:schedulerName",
                "f:securityContext",
                "f:terminationGracePeriodSeconds",
            ]
        },
    ),
]

LISTS = [
    *[
        Variant(
            f"object {i}",
            f"POST {CM}",
            {"metadata": {"name": f"l{i}", "labels": {"n": str(i), "even": str(i % 2 == 0).lower()}}},
            code=201,
        )
        for i in range(6)
    ],
    Variant(
        "several values",
        f"GET {CM}",
        query={"labelSelector": "n in (1,3),even!=true"},
        find={"items[].metadata.name": ["l1", "l3"]},
    ),
    Variant("double equals", f"GET {CM}", query={"labelSelector": "n==1"}, find={"items[].metadata.name": ["l1"]}),
    Variant("greater", f"GET {CM}", query={"labelSelector": "n>3"}, find={"items[].metadata.name": ["l4", "l5"]}),
    Variant(
        "not in", f"GET {CM}", query={"labelSelector": "n,n notin (0,1,2,3,4)"}, find={"items[].metadata.name": ["l5"]}
    ),
    Variant("an empty value", f"GET {CM}", query={"labelSelector": "n="}, find={"items": []}),
    Variant("a selector that is none", f"GET {CM}", query={"labelSelector": "a,,b"}, code=400, reason="BadRequest"),
    Variant(
        "a label value that cannot be", f"GET {CM}", query={"labelSelector": "n=a b"}, code=400, reason="BadRequest"
    ),
    Variant(
        "not this name",
        f"GET {CM}",
        query={"fieldSelector": "metadata.name!=l0,metadata.name!=kube-root-ca.crt"},
        find={"items[].metadata.name": ["l1", "l2", "l3", "l4", "l5"]},
    ),
    Variant(
        "name and label",
        f"GET {CM}",
        query={"fieldSelector": "metadata.name=l2", "labelSelector": "even=true"},
        find={"items[].metadata.name": ["l2"]},
    ),
    Variant(
        "by namespace",
        "GET /api/v1/configmaps",
        query={"fieldSelector": "metadata.namespace=default,metadata.name=absent"},
        find={"items": []},
    ),
    Variant(
        "a limit with a selector has no count",
        f"GET {CM}",
        query={"labelSelector": "n", "limit": "2"},
        find={
            "items[].metadata.name": ["l0", "l1"],
            "metadata.remainingItemCount": None,
            "metadata.continue && `true`": True,
        },
    ),
    Variant("a limit that is no number", f"GET {CM}", query={"limit": "x"}, code=400),
    Variant(
        "an exact version needs one",
        f"GET {CM}",
        query={"resourceVersionMatch": "Exact"},
        fields=("resourceVersionMatch",),
        **INVALID,
    ),
    Variant(
        "an exact version of zero",
        f"GET {CM}",
        query={"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        fields=("resourceVersionMatch",),
        **INVALID,
    ),
    Variant(
        "an unknown match",
        f"GET {CM}",
        query={"resourceVersionMatch": "Nearly", "resourceVersion": "1"},
        fields=("resourceVersionMatch",),
        **INVALID,
    ),
    Variant(
        "initial events are for watches",
        f"GET {CM}",
        query={"sendInitialEvents": "true"},
        fields=("sendInitialEvents",),
        **INVALID,
    ),
    Variant(
        "a watch's initial events need a match",
        f"GET {CM}",
        query={"watch": "true", "sendInitialEvents": "true", "timeoutSeconds": "1"},
        fields=("resourceVersionMatch",),
        **INVALID,
    ),
    Variant(
        "a watch with an exact match",
        f"GET {CM}",
        query={"watch": "true", "resourceVersionMatch": "Exact", "timeoutSeconds": "1"},
        fields=("resourceVersionMatch",),
        **INVALID,
    ),
    Variant(
        "continue with a version",
        f"GET {CM}",
        query={"continue": "abc", "resourceVersion": "5"},
        code=400,
        reason="BadRequest",
    ),
    Variant("a version to come", f"GET {CM}", query={"resourceVersion": "999999999"}, code=504, reason="Timeout"),
    Variant(
        "a collection goes by field",
        f"DELETE {CM}",
        query={"fieldSelector": "metadata.name=l0"},
        find={"items[].metadata.name": ["l0"]},
    ),
    Variant(
        "a collection's dry run",
        f"DELETE {CM}",
        query={"labelSelector": "n", "dryRun": "All"},
        find={"length(items)": 5},
    ),
    Variant("left all", f"GET {CM}", query={"labelSelector": "n"}, find={"length(items)": 5}),
    Variant(
        "the whole cluster's collection cannot be deleted",
        "DELETE /api/v1/configmaps",
        code=405,
        reason="MethodNotAllowed",
    ),
    Variant(
        "namespaces have no collection to delete", "DELETE /api/v1/namespaces", code=405, reason="MethodNotAllowed"
    ),
    Variant("a list's kind", f"GET {JOBS}", find={"kind": "JobList", "apiVersion": "batch/v1", "items": []}),
    Variant("an unknown namespace has nothing", "GET /api/v1/namespaces/nowhere/configmaps", find={"items": []}),
]

DELETES = [
    Variant("held", f"POST {CM}", {"metadata": {"name": "h", "finalizers": ["a.example/x"]}}, code=201),
    Variant(
        "a wrong policy", f"DELETE {CM}/h", {"propagationPolicy": "Sometimes"}, fields=("propagationPolicy",), **INVALID
    ),
    Variant(
        "two ways to say it",
        f"DELETE {CM}/h",
        {"propagationPolicy": "Orphan", "orphanDependents": True},
        fields=("propagationPolicy",),
        **INVALID,
    ),
    Variant(
        "a negative grace is one second",
        f"DELETE {CM}/h",
        {"gracePeriodSeconds": -1},
        query={"dryRun": "All"},
        find={"kind": "ConfigMap"},
    ),
    Variant("another uid", f"DELETE {CM}/h", {"preconditions": {"uid": "x"}}, code=409, reason="Conflict"),
    Variant(
        "foreground waits for its finalizer",
        f"DELETE {CM}/h",
        {"propagationPolicy": "Foreground"},
        find={"sort(metadata.finalizers)": ["a.example/x", "foregroundDeletion"]},
    ),
    Variant(
        "finalizers may go while it is deleted",
        f"PATCH {CM}/h",
        {"metadata": {"finalizers": None}},
        type=MERGE,
        find={"metadata.finalizers": None},
    ),
    Variant("it is gone", f"GET {CM}/h", code=404, reason="NotFound"),
    Variant("a body of another kind", f"DELETE {CM}/h", {"kind": "ConfigMap", "apiVersion": "v1"}, code=400),
    Variant("a pod without a node goes at once", f"POST {PODS}", pod("p"), code=201),
    Variant(
        "and is answered as it was", f"DELETE {PODS}/p", find={"kind": "Pod", "metadata.deletionGracePeriodSeconds": 0}
    ),
    Variant("gone too", f"GET {PODS}/p", code=404, reason="NotFound"),
    Variant("a Job warns of its pods", f"POST {JOBS}", job("j"), code=201),
    Variant(
        "an old client orphans",
        f"DELETE {JOBS}/j",
        {"orphanDependents": True},
        find={"metadata.finalizers": ["orphan"]},
    ),
]
GROUPS = {
    "metadata": METADATA,
    "core": CORE,
    "strategic": STRATEGIC_PATCHES,
    "applies": APPLIES,
    "lists": LISTS,
    "deletes": DELETES,
}
