"""What every cluster has before anybody used it: namespaces and the roles that RBAC begins with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from selm_local.apiserver.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    PRIORITY_CLASSES,
    Resource,
)
from selm_local.apiserver.storage import Object

RBAC = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_COMMON = ["configmaps", "events", "persistentvolumeclaims", "pods", "serviceaccounts", "services"]


def _workloads(read: list[str], write: list[str]) -> list[dict[str, Any]]:
    """What admin, edit and view have beyond the core group."""
    groups = {
        "apps": ["deployments", "replicasets"],
        "networking.k8s.io": ["networkpolicies"],
        "policy": ["poddisruptionbudgets"],
    }
    return [{"apiGroups": [g], "resources": names, "verbs": [*read, *write]} for g, names in groups.items()]


_CLUSTER_ROLES: dict[str, list[dict[str, Any]]] = {
    "cluster-admin": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ],
    "admin": [
        {"apiGroups": [""], "resources": [*_COMMON, "secrets"], "verbs": [*_READ, *_WRITE]},
        {"apiGroups": [""], "resources": ["pods/log", "pods/status", "namespaces"], "verbs": _READ},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": [*_READ, *_WRITE]},
        *_workloads(_READ, _WRITE),
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": [*_READ, *_WRITE]},
        {"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": [*_READ, *_WRITE]},
    ],
    "edit": [
        {"apiGroups": [""], "resources": [*_COMMON, "secrets"], "verbs": [*_READ, *_WRITE]},
        {"apiGroups": [""], "resources": ["pods/log", "pods/status", "namespaces"], "verbs": _READ},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": [*_READ, *_WRITE]},
        *_workloads(_READ, _WRITE),
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": [*_READ, *_WRITE]},
    ],
    "view": [
        {"apiGroups": [""], "resources": [*_COMMON, "pods/log", "pods/status", "namespaces"], "verbs": _READ},
        {"apiGroups": ["batch"], "resources": ["jobs", "jobs/status"], "verbs": _READ},
        *_workloads(_READ, []),
    ],
    "system:basic-user": [
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            "verbs": ["create"],
        },
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
    ],
    "system:public-info-viewer": [
        {"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}
    ],
    "system:discovery": [
        {
            "nonResourceURLs": [
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ],
            "verbs": ["get"],
        }
    ],
}
_BINDINGS = {
    "cluster-admin": ("system:masters",),
    "system:basic-user": ("system:authenticated",),
    "system:discovery": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
}


def bootstrap_objects() -> Iterator[tuple[Resource, str | None, Object]]:
    """(resource, namespace, object) of everything that must be there."""
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        yield NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    for name, rules in _CLUSTER_ROLES.items():
        yield (
            CLUSTER_ROLES,
            None,
            {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        )
    for role, groups in _BINDINGS.items():
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group} for group in groups],
        }
        yield CLUSTER_ROLE_BINDINGS, None, binding
    for name, value in (("system-cluster-critical", 2000000000), ("system-node-critical", 2000001000)):
        yield (
            PRIORITY_CLASSES,
            None,
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
            },
        )
