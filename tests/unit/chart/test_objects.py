"""What the chart renders, by a real Helm engine: valid for Kubernetes, restricted, and with the rights that it states."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from selm_operator.constants import LEASE_NAME
from selm_operator.settings import read_settings
from support.chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    VALUE_SETS,
    Json,
    notes,
    of_kind,
    one,
    render,
    restricted_violations,
    validate,
)
from support.selmruns import REPOSITORY

VERSIONS = ("1.31", "1.34", "1.37")
MINIMUM = "v1.31.0"
EACH_SET = pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS.keys())
GOLDEN = REPOSITORY / "tests" / "unit" / "operator" / "golden"


@EACH_SET
def test_helm_lints_it_without_a_warning(values: Json) -> None:
    report = helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE, kube_version=MINIMUM)
    assert report["errors"] == []
    assert [m["error"] for m in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", VERSIONS)
@EACH_SET
def test_every_object_is_valid_for_kubernetes(values: Json, version: str) -> None:
    objects = render(values)
    known = [obj for obj in objects if obj["kind"] != "ServiceMonitor"]  # a CRD of another project
    for obj in known:
        validate(obj, version)
    assert len(known) >= 3


def test_the_check_of_objects_can_fail() -> None:
    deployment = one(render(), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinessprobe"):
        validate(deployment, VERSIONS[0])


@EACH_SET
def test_names_are_unique_and_objects_carry_labels(values: Json) -> None:
    objects = render(values)
    identities = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(set(identities)) == len(identities)
    for obj in objects:
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/name"] == "selm-operator"
        assert values.get("commonLabels", {}).get("team") == labels.get("team")


def test_what_is_rendered_by_default() -> None:
    kinds = Counter(obj["kind"] for obj in render())
    once = ("CustomResourceDefinition", "ServiceAccount", "ClusterRoleBinding", "Role", "RoleBinding", "Deployment")
    assert kinds == {**dict.fromkeys(once, 1), "ClusterRole": 3, "Service": 1}


def test_everything_renders_the_optional_kinds_too() -> None:
    kinds = {obj["kind"] for obj in render(VALUE_SETS["everything"])}
    assert {"PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"} <= kinds


@EACH_SET
def test_the_operators_pod_is_restricted(values: Json) -> None:
    pod = one(render(values), "Deployment")["spec"]["template"]["spec"]
    assert restricted_violations(pod) == []
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] > 0


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*-*.yaml")), ids=lambda path: path.stem)
def test_the_runs_pods_are_restricted(file: Path) -> None:
    job = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert restricted_violations(job["spec"]["template"]["spec"]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"hostNetwork": True},
        {"securityContext": {}},
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        {"containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": False}}]},
    ],
)
def test_the_check_of_pods_can_fail(change: Json) -> None:
    pod = one(render(), "Deployment")["spec"]["template"]["spec"]
    assert restricted_violations(pod | change) != []


def test_an_openshift_user_may_leave_the_user_to_the_platform() -> None:
    values = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None}}
    pod = one(render(values), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


# --- rights


@EACH_SET
def test_roles_hold_no_wildcard_and_no_secrets(values: Json) -> None:
    for role in [*of_kind(render(values), "Role"), *of_kind(render(values), "ClusterRole")]:
        for rule in role["rules"]:
            assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "configmaps", "pods/exec", "roles", "nodes"} & set(rule["resources"])


def test_namespaced_it_has_rights_in_its_namespaces_alone() -> None:
    objects = render(VALUE_SETS["namespaced"] | {"rbac": {"aggregateToUserRoles": False}})
    assert not of_kind(objects, "ClusterRole")
    assert not of_kind(objects, "ClusterRoleBinding")
    watched = {role["metadata"]["namespace"] for role in of_kind(objects, "Role")} - {NAMESPACE}
    assert watched == {"team-a", "team-b"}
    for binding in of_kind(objects, "RoleBinding"):
        role = {"kind": "Role", "name": binding["metadata"]["name"], "apiGroup": "rbac.authorization.k8s.io"}
        assert binding["roleRef"] == role
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}]


def test_namespaced_and_cluster_wide_rights_are_the_same() -> None:
    wide = next(r for r in of_kind(render(), "ClusterRole") if r["metadata"]["name"] == RELEASE)
    narrow = next(
        r for r in of_kind(render(VALUE_SETS["namespaced"]), "Role") if r["metadata"]["namespace"] == "team-a"
    )
    assert wide["rules"] == narrow["rules"]


def test_the_lease_that_the_role_names_is_the_operators() -> None:
    role = next(r for r in of_kind(render(), "Role") if r["metadata"]["name"].endswith("-lease"))
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [LEASE_NAME]]
    assert role["rules"][0]["verbs"] == ["create"]  # which no rule can restrict by name


# --- the CustomResourceDefinition


def test_the_crd_is_the_one_of_the_models() -> None:
    source = yaml.load((REPOSITORY / "crds" / "selmruns.selm.dev.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
    for values in VALUE_SETS.values():
        for rendered in of_kind(render(values), "CustomResourceDefinition"):
            assert rendered["spec"] == source["spec"]
            assert rendered["metadata"]["name"] == source["metadata"]["name"]


def test_the_crd_stays_unless_told_otherwise() -> None:
    assert one(render(), "CustomResourceDefinition")["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    let_go = one(render(VALUE_SETS["crds not kept"]), "CustomResourceDefinition")
    assert let_go["metadata"]["annotations"] == {"example.org/owner": "platform"}
    assert of_kind(render(VALUE_SETS["crds off"]), "CustomResourceDefinition") == []


# --- the Deployment


def environment(objects: list[Json]) -> dict[str, Any]:
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


@EACH_SET
def test_the_operator_reads_the_settings_that_it_is_given(values: Json) -> None:
    settings = read_settings(environment(render(values)))
    assert settings.namespaces == tuple(dict.fromkeys(values.get("watchNamespaces", ())))
    assert settings.workers == values.get("operator", {}).get("workers", 16)
    assert settings.log_format == values.get("operator", {}).get("logFormat", "json")
    assert settings.preparation_resources["limits"]["memory"]


def test_images_by_tag_and_by_digest() -> None:
    default = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    assert default == f"selm-operator:{version}"
    objects = render(VALUE_SETS["everything"])
    pinned = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert pinned == f"registry.example.org:5000/selm-operator@sha256:{'0' * 64}"
    assert environment(objects)["SELM_RUNTIME_IMAGE"] == "registry.example.org/llm/selm-runtime:cuda"
    assert "SELM_RUNTIME_IMAGE" not in environment(render({"runtime": {"image": {"repository": ""}}}))


@EACH_SET
def test_selectors_find_the_pod_and_probes_its_port(values: Json) -> None:
    objects = render(values)
    deployment = one(objects, "Deployment")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [o["spec"]["selector"] for o in of_kind(objects, "Service")]
    selectors += [o["spec"]["selector"]["matchLabels"] for o in of_kind(objects, "PodDisruptionBudget")]
    selectors += [o["spec"]["podSelector"]["matchLabels"] for o in of_kind(objects, "NetworkPolicy")]
    assert all(selector.items() <= labels.items() for selector in selectors)
    (container,) = template["spec"]["containers"]
    assert container["ports"] == [
        {"name": "http", "containerPort": int(environment(objects)["SELM_HTTP_PORT"]), "protocol": "TCP"}
    ]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_service_monitor_finds_the_service() -> None:
    objects = render(VALUE_SETS["everything"])
    monitor, service = one(objects, "ServiceMonitor"), one(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint["path"] == "/metrics"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_a_disruption_budget_only_where_a_replica_can_be_spared() -> None:
    assert of_kind(render(), "PodDisruptionBudget") == []
    assert one(render({"replicaCount": 2}), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert of_kind(render({"replicaCount": 2, "podDisruptionBudget": {"enabled": False}}), "PodDisruptionBudget") == []


# --- what surrounds the objects


def test_notes_say_the_next_command() -> None:
    assert f"kubectl --namespace {NAMESPACE} rollout status deployment/{RELEASE}" in notes()
    assert "of all namespaces" in notes()
    assert "team-a, team-b" in notes(VALUE_SETS["namespaced"])
    assert "crds.enabled is false" in notes(VALUE_SETS["crds off"])
    assert "made-by-platform" in notes(VALUE_SETS["rights and account from elsewhere"])
    assert (REPOSITORY / "examples" / "zephyr-7b.yaml").is_file()


def test_two_releases_in_one_cluster_do_not_collide() -> None:
    common = {"crds": {"enabled": False}}
    first = render(common | {"watchNamespaces": ["team-a"]}, release="a", namespace="team-a")
    second = render(common | {"watchNamespaces": ["team-b"]}, release="b", namespace="team-b")
    identities = [
        {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects}
        for objects in (first, second)
    ]
    assert not identities[0] & identities[1]


def test_it_packages_and_the_package_renders_alike(tmp_path: Path) -> None:
    archive = helm_python.package(CHART, destination=tmp_path)
    with helm_python.Chart.load(archive) as packed, helm_python.Chart.load(CHART) as source:
        args: Json = {"name": RELEASE, "namespace": NAMESPACE}
        assert packed.render({}, **args) == source.render({}, **args)
        assert packed.schema == json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert Path(archive).stat().st_size < 100_000
