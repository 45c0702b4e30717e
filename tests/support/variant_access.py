"""Variants about who may do what, about custom resources that are not ours, and about what changes a version."""

from __future__ import annotations

from typing import Any

from support.variant_table import ACCOUNTS, APPLY, CM, INVALID, MERGE, RBAC, Variant, config_map, named

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
REVIEWS = "/apis/authorization.k8s.io/v1"
TOKENS = f"{ACCOUNTS}/default/token"
ROLES, BINDINGS = f"{RBAC}/NS/roles", f"{RBAC}/NS/rolebindings"
PODS_READ = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def role(name: str, *rules: Any) -> dict[str, Any]:
    return {**named(name), "rules": list(rules)}


def binding(name: str, role_name: str, *subjects: Any, kind: str = "Role") -> dict[str, Any]:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role_name}
    return {**named(name), "roleRef": reference, "subjects": list(subjects)}


def token(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


MONITOR = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.example.com"},
    "spec": {
        "group": "monitoring.example.com",
        "scope": "Namespaced",
        "names": {
            "plural": "servicemonitors",
            "kind": "ServiceMonitor",
            "shortNames": ["smon"],
            "categories": ["prom"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["selector"],
                                "x-kubernetes-validations": [
                                    {"rule": "self.size >= oldSelf.size", "message": "may only grow"},
                                    {"rule": "size(self.endpoints) < 3", "message": "two at most"},
                                ],
                                "properties": {
                                    "selector": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "size": {"type": "integer", "default": 1, "maximum": 9},
                                    "mode": {"type": "string", "enum": ["A", "B"]},
                                    "endpoints": {
                                        "type": "array",
                                        "default": [],
                                        "maxItems": 5,
                                        "items": {
                                            "type": "object",
                                            "properties": {
                                                "port": {"x-kubernetes-int-or-string": True},
                                                "path": {"type": "string", "default": "/metrics"},
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}
MONITORS = "/apis/monitoring.example.com/v1/NS/servicemonitors"


def monitor(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.example.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": name},
        "spec": {"selector": {}, **spec},
    }


ACCESS = [
    Variant("a role", f"POST {ROLES}", role("r", PODS_READ), code=201, find={"rules[0].verbs": ["get", "list"]}),
    Variant(
        "a rule without verbs",
        f"POST {ROLES}",
        role("s", {"apiGroups": [""], "resources": ["pods"], "verbs": []}),
        fields=("rules[0].verbs",),
        **INVALID,
    ),
    Variant(
        "a namespaced rule about paths",
        f"POST {ROLES}",
        role("s", {"nonResourceURLs": ["/x"], "verbs": ["get"]}),
        fields=("rules[0].nonResourceURLs",),
        **INVALID,
    ),
    Variant(
        "a rule without resources",
        f"POST {ROLES}",
        role("s", {"apiGroups": [""], "verbs": ["get"]}),
        fields=("rules[0].resources",),
        **INVALID,
    ),
    Variant(
        "a binding",
        f"POST {BINDINGS}",
        binding("b", "r", {"kind": "User", "name": "eve"}),
        code=201,
        find={"subjects[0].apiGroup": "rbac.authorization.k8s.io"},
    ),
    Variant(
        "a binding keeps its role",
        f"PATCH {BINDINGS}/b",
        {"roleRef": {"name": "other"}},
        type=MERGE,
        fields=("roleRef",),
        **INVALID,
    ),
    Variant(
        "an account's namespace",
        f"POST {BINDINGS}",
        binding("c", "r", {"kind": "ServiceAccount", "name": "a"}),
        fields=("subjects[0].namespace",),
        **INVALID,
    ),
    Variant(
        "an unknown subject",
        f"POST {BINDINGS}",
        binding("c", "r", {"kind": "Robot", "name": "a"}),
        fields=("subjects[0].kind",),
        **INVALID,
    ),
    Variant(
        "eve may list",
        f"POST {REVIEWS}/subjectaccessreviews",
        {"spec": {"user": "eve", "resourceAttributes": {"namespace": "v-access", "resource": "pods", "verb": "list"}}},
        code=201,
        find={"status.allowed": True},
    ),
    Variant(
        "elsewhere not",
        f"POST {REVIEWS}/subjectaccessreviews",
        {"spec": {"user": "eve", "resourceAttributes": {"namespace": "default", "resource": "pods", "verb": "list"}}},
        code=201,
        find={"status.allowed": False},
    ),
    Variant(
        "nor what is below",
        f"POST {REVIEWS}/subjectaccessreviews",
        {
            "spec": {
                "user": "eve",
                "resourceAttributes": {
                    "namespace": "v-access",
                    "resource": "pods",
                    "subresource": "log",
                    "verb": "get",
                },
            }
        },
        code=201,
        find={"status.allowed": False},
    ),
    Variant("eve lists", "GET /api/v1/NS/pods", user="eve", find={"kind": "PodList"}),
    Variant("eve deletes", "DELETE /api/v1/NS/pods/p", user="eve", code=403, reason="Forbidden"),
    Variant(
        "the administrator lets eve write roles",
        f"POST {ROLES}",
        role(
            "w",
            {
                "apiGroups": ["rbac.authorization.k8s.io"],
                "resources": ["roles", "rolebindings"],
                "verbs": ["create", "get", "patch", "update"],
            },
        ),
        code=201,
    ),
    Variant("by a binding", f"POST {BINDINGS}", binding("w", "w", {"kind": "User", "name": "eve"}), code=201),
    Variant("eve grants what she has", f"POST {ROLES}", role("e", PODS_READ), user="eve", code=201),
    Variant(
        "and nothing else",
        f"POST {ROLES}",
        role("f", {**PODS_READ, "verbs": ["delete"]}),
        user="eve",
        code=403,
        reason="Forbidden",
    ),
    Variant(
        "not later either",
        f"PATCH {ROLES}/e",
        {"rules": [{**PODS_READ, "resources": ["secrets"]}]},
        type=MERGE,
        user="eve",
        code=403,
        reason="Forbidden",
    ),
    Variant(
        "nor by binding the mighty",
        f"POST {BINDINGS}",
        binding("g", "cluster-admin", {"kind": "User", "name": "eve"}, kind="ClusterRole"),
        user="eve",
        code=403,
        reason="Forbidden",
    ),
    Variant(
        "nor a role to come",
        f"POST {BINDINGS}",
        binding("g", "absent", {"kind": "User", "name": "eve"}),
        user="eve",
        code=404,
        reason="NotFound",
    ),
    Variant(
        "eve's own rules",
        f"POST {REVIEWS}/selfsubjectrulesreviews",
        {"spec": {"namespace": "v-access"}},
        user="eve",
        code=201,
        find={"status.incomplete": False, "length(status.resourceRules[?resources[0]=='pods'])": 1},
    ),
    Variant(
        "two kinds of questions in one",
        f"POST {REVIEWS}/selfsubjectaccessreviews",
        {"spec": {}},
        fields=("spec.resourceAttributes",),
        **INVALID,
    ),
    Variant(
        "a token",
        f"POST {TOKENS}",
        token(expirationSeconds=600, audiences=["a"]),
        code=201,
        find={"spec.audiences": ["a"], "spec.expirationSeconds": 600, "length(status.token) > `100`": True},
    ),
    Variant(
        "a token too short",
        f"POST {TOKENS}",
        token(expirationSeconds=599),
        fields=("spec.expirationSeconds",),
        **INVALID,
    ),
    Variant(
        "a token for ever",
        f"POST {TOKENS}",
        token(expirationSeconds=2**33),
        fields=("spec.expirationSeconds",),
        **INVALID,
    ),
    Variant("a token of nobody", f"POST {ACCOUNTS}/nobody/token", token(), code=404, reason="NotFound"),
    Variant(
        "bound to what is not there",
        f"POST {TOKENS}",
        token(boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "absent"}),
        code=404,
        reason="NotFound",
    ),
    Variant(
        "bound to what cannot be",
        f"POST {TOKENS}",
        token(boundObjectRef={"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}),
        code=400,
        reason="BadRequest",
    ),
    Variant(
        "a review of nonsense",
        "POST /apis/authentication.k8s.io/v1/tokenreviews",
        {"spec": {"token": "nonsense"}},
        code=201,
        find={"status.authenticated": None},
    ),
]

CUSTOM = [
    Variant(
        "a foreign definition",
        f"POST {CRDS}",
        MONITOR,
        code=201,
        find={"status.conditions[?type=='Established'].status": ["True"]},
    ),
    Variant(
        "an instance",
        f"POST {MONITORS}",
        monitor("a", endpoints=[{"port": "web"}, {"port": 80}]),
        code=201,
        find={"spec.endpoints[].path": ["/metrics", "/metrics"], "spec.size": 1, "metadata.generation": 1},
    ),
    Variant(
        "unknown fields where they may be",
        f"POST {MONITORS}",
        monitor("b", selector={"matchLabels": {"x": "y"}}),
        code=201,
        query={"fieldValidation": "Strict"},
        find={"spec.selector.matchLabels": {"x": "y"}},
    ),
    Variant(
        "and where not",
        f"POST {MONITORS}",
        monitor("c", nonsense=1),
        query={"fieldValidation": "Strict"},
        code=400,
        reason="BadRequest",
    ),
    Variant("a rule", f"POST {MONITORS}", monitor("c", endpoints=[{}, {}, {}]), fields=("spec",), **INVALID),
    Variant(
        "a change by a transition rule",
        f"PATCH {MONITORS}/a",
        {"spec": {"size": 3}},
        type=MERGE,
        find={"spec.size": 3, "metadata.generation": 2},
    ),
    Variant("not back", f"PATCH {MONITORS}/a", {"spec": {"size": 2}}, type=MERGE, fields=("spec",), **INVALID),
    Variant("an enum", f"PATCH {MONITORS}/a", {"spec": {"mode": "C"}}, type=MERGE, fields=("spec.mode",), **INVALID),
    Variant("required", f"POST {MONITORS}", {**monitor("d"), "spec": {}}, fields=("spec.selector",), **INVALID),
    Variant(
        "without a status subresource, status is pruned as undeclared",
        f"PATCH {MONITORS}/a",
        {"status": {"x": 1}},
        type=MERGE,
        find={"status": None},
    ),
    Variant("it has none", f"GET {MONITORS}/a/status", code=404),
    Variant(
        "an atomic list is applied as one",
        f"PATCH {MONITORS}/a",
        monitor("a", size=3, endpoints=[{"port": 1}]),
        type=APPLY,
        query={"fieldManager": "x", "force": "true"},
        find={"spec.endpoints": [{"port": 1, "path": "/metrics"}]},
    ),
    Variant(
        "a stricter enum",
        f"PATCH {CRDS}/servicemonitors.monitoring.example.com",
        [
            {
                "op": "replace",
                "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/maximum",
                "value": 2,
            }
        ],
        type="application/json-patch+json",
        find={"metadata.generation": 2},
    ),
    Variant(
        "an old value that no longer fits stays while it is not touched",
        f"PATCH {MONITORS}/a",
        {"metadata": {"labels": {"a": "b"}}},
        type=MERGE,
        find={"spec.size": 3},
    ),
    Variant(
        "also when something beside it changes",
        f"PATCH {MONITORS}/a",
        {"spec": {"mode": "A"}},
        type=MERGE,
        find={"spec.mode": "A"},
    ),
    Variant(
        "a new one must fit", f"PATCH {MONITORS}/a", {"spec": {"size": 4}}, type=MERGE, fields=("spec.size",), **INVALID
    ),
    Variant("its OpenAPI", "GET /openapi/v3/apis/monitoring.example.com/v1", find={"openapi": "3.0.0"}),
    Variant(
        "gone with its instances",
        f"DELETE {CRDS}/servicemonitors.monitoring.example.com",
        find={"kind": "CustomResourceDefinition"},
    ),
]

VERSIONS = [
    Variant("made", f"POST {CM}", config_map("a", x="1"), code=201),
    Variant(
        "the same again changes nothing", f"PATCH {CM}/a", {"data": {"x": "1"}}, type=MERGE, find={"data": {"x": "1"}}
    ),
    Variant(
        "a stale version",
        f"PATCH {CM}/a",
        {"metadata": {"resourceVersion": "1"}, "data": {"x": "2"}},
        type=MERGE,
        code=409,
        reason="Conflict",
    ),
    Variant(
        "a stale version that changes nothing",
        f"PUT {CM}/a",
        {**config_map("a", x="1"), "metadata": {"name": "a", "resourceVersion": "1"}},
        code=409,
        reason="Conflict",
    ),
    Variant(
        "another uid",
        f"PUT {CM}/a",
        {**config_map("a", x="2"), "metadata": {"name": "a", "uid": "other"}},
        code=409,
        reason="Conflict",
    ),
    Variant(
        "a dry run of a change",
        f"PATCH {CM}/a",
        {"data": {"x": "9"}},
        type=MERGE,
        query={"dryRun": "All"},
        find={"data": {"x": "9"}},
    ),
    Variant("left it", f"GET {CM}/a", find={"data": {"x": "1"}}),
    Variant(
        "a get of a version to come", f"GET {CM}/a", query={"resourceVersion": "999999999"}, code=504, reason="Timeout"
    ),
    Variant("a wrong method", f"POST {CM}/a", config_map("a"), code=405, reason="MethodNotAllowed"),
    Variant("a subresource that is none", f"GET {CM}/a/status", code=404),
    Variant(
        "a table of one",
        f"GET {CM}/a",
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
        find={"kind": "Table", "rows[0].cells[:2]": ["a", "1"]},
    ),
    Variant(
        "its metadata alone",
        f"GET {CM}/a",
        accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        find={"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "contains(keys(@), 'data')": False},
    ),
]
GROUPS = {"access": ACCESS, "custom": CUSTOM, "versions": VERSIONS}
