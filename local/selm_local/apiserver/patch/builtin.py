"""How the lists of built-in kinds merge, for server-side apply and strategic merge patches.

Source: the markers on k8s.io/api types (core/v1, batch/v1, apps/v1, rbac/v1, discovery/v1, ...). Only what is not the
rule is listed: objects merge field by field, lists are replaced as one, and so are what the table calls ATOMIC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from selm_local.apiserver.patch.mergetypes import LEAF, MergeType, of_leaf, undeclared

Gvk = tuple[str, str, str]
"""(group, version, kind); the core group is ''."""
_Entry = Callable[[], MergeType]


def _named(name: str) -> _Entry:
    return lambda: _struct(name)


def _by(
    *keys: str,
    of: str = "",
    patch_key: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    retain: bool = False,
) -> _Entry:
    """A list of `of` whose items are known by `keys`; `patch_key` '' where strategic patches replace it."""
    built = MergeType(
        "list-map",
        item=_named(of) if of else undeclared,
        keys=keys,
        key_defaults=defaults or {},
        patch_key=keys[0] if patch_key is None else patch_key,
        retain_keys=retain,
    )
    return lambda: built


def _map(of: _Entry = of_leaf) -> _Entry:
    built = MergeType("map", item=of)
    return lambda: built


_STRINGS: Final = _map()
_SET: Final = MergeType("set", patch_merges=True)
_ATOMIC: Final = of_leaf
_TCP: Final = {"protocol": "TCP"}
_CONDITIONS: Final = _by("type")


def _set() -> MergeType:
    return _SET


def _patched_only(key: str, of: str = "") -> _Entry:
    """A list that strategic patches merge by `key` though server-side apply replaces it as one."""
    built = MergeType("leaf", patch_key=key, item=_named(of) if of else undeclared)
    return lambda: built


_TABLE: Final[dict[str, dict[str, _Entry]]] = {
    "ObjectMeta": {
        "labels": _STRINGS,
        "annotations": _STRINGS,
        "finalizers": _set,
        "ownerReferences": _by("uid"),
        "managedFields": _ATOMIC,
    },
    "LabelSelector": {"matchLabels": _STRINGS, "matchExpressions": _ATOMIC},
    "PodTemplateSpec": {"metadata": _named("ObjectMeta"), "spec": _named("PodSpec")},
    "PodSpec": {
        "containers": _by("name", of="Container"),
        "initContainers": _by("name", of="Container"),
        "ephemeralContainers": _by("name", of="Container"),
        "volumes": _by("name", of="Volume", retain=True),
        "imagePullSecrets": _by("name"),
        "hostAliases": _by("ip"),
        "schedulingGates": _by("name"),
        "resourceClaims": _by("name", retain=True),
        "topologySpreadConstraints": _by("topologyKey", "whenUnsatisfiable"),
        "nodeSelector": _ATOMIC,
        "overhead": _STRINGS,
        "affinity": _named("Affinity"),
        "resources": _named("Resources"),
    },
    "Affinity": {},
    "Container": {
        "env": _by("name"),
        "ports": _by("containerPort", "protocol", defaults=_TCP),
        "volumeMounts": _by("mountPath"),
        "volumeDevices": _by("devicePath"),
        "resources": _named("Resources"),
        "restartPolicyRules": _ATOMIC,
    },
    "Resources": {"limits": _STRINGS, "requests": _STRINGS, "claims": _by("name", patch_key="")},
    "Volume": {
        "csi": _named("CSIVolume"),
        "configMap": _named("Projection"),
        "secret": _named("Projection"),
    },
    "CSIVolume": {"volumeAttributes": _STRINGS},
    "Projection": {},
    "PodStatus": {
        "conditions": _CONDITIONS,
        "podIPs": _by("ip"),
        "hostIPs": _by("ip", patch_key="ip"),
        "resourceClaimStatuses": _by("name", retain=True),
    },
    "JobSpec": {
        "template": _named("PodTemplateSpec"),
        "selector": _named("LabelSelector"),
        "podFailurePolicy": _named("PodFailurePolicy"),
    },
    "PodFailurePolicy": {"rules": _ATOMIC},
    "JobStatus": {
        "conditions": _patched_only("type"),
        "uncountedTerminatedPods": _named("UncountedTerminatedPods"),
    },
    "UncountedTerminatedPods": {"succeeded": _set, "failed": _set},
    "CronJobSpec": {"jobTemplate": _named("JobTemplateSpec")},
    "JobTemplateSpec": {"metadata": _named("ObjectMeta"), "spec": _named("JobSpec")},
    "WorkloadSpec": {"template": _named("PodTemplateSpec"), "selector": _named("LabelSelector")},
    "WorkloadStatus": {"conditions": _CONDITIONS},
    "ServiceSpec": {
        "ports": _by("port", "protocol", defaults=_TCP),
        "selector": _ATOMIC,
        "clusterIPs": _ATOMIC,
        "externalIPs": _ATOMIC,
    },
    "ServiceStatus": {"conditions": _CONDITIONS, "loadBalancer": undeclared},
    "NodeSpec": {"podCIDRs": _set, "taints": _patched_only("key")},
    "NodeStatus": {
        "conditions": _CONDITIONS,
        "addresses": _by("type", patch_key="type"),
        "capacity": _STRINGS,
        "allocatable": _STRINGS,
    },
    "NamespaceStatus": {"conditions": _CONDITIONS},
    "CrdSpec": {"versions": _ATOMIC, "names": undeclared},
    "CrdStatus": {"conditions": _CONDITIONS, "storedVersions": _ATOMIC},
}

# The fields of an object beside apiVersion, kind and metadata, by kind.
_KINDS: Final[dict[tuple[str, str], dict[str, _Entry]]] = {
    ("", "Pod"): {"spec": _named("PodSpec"), "status": _named("PodStatus")},
    ("", "Service"): {"spec": _named("ServiceSpec"), "status": _named("ServiceStatus")},
    ("", "ConfigMap"): {"data": _STRINGS, "binaryData": _STRINGS},
    ("", "Secret"): {"data": _STRINGS, "stringData": _STRINGS},
    ("", "ServiceAccount"): {"secrets": _by("name"), "imagePullSecrets": _patched_only("name")},
    ("", "Node"): {"spec": _named("NodeSpec"), "status": _named("NodeStatus")},
    ("", "Namespace"): {"spec": undeclared, "status": _named("NamespaceStatus")},
    ("", "Event"): {},
    ("batch", "Job"): {"spec": _named("JobSpec"), "status": _named("JobStatus")},
    ("batch", "CronJob"): {"spec": _named("CronJobSpec"), "status": undeclared},
    **{
        ("apps", kind): {"spec": _named("WorkloadSpec"), "status": _named("WorkloadStatus")}
        for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
    },
    ("apiextensions.k8s.io", "CustomResourceDefinition"): {"spec": _named("CrdSpec"), "status": _named("CrdStatus")},
    ("rbac.authorization.k8s.io", "Role"): {"rules": _ATOMIC},
    ("rbac.authorization.k8s.io", "ClusterRole"): {"rules": _ATOMIC},
    ("rbac.authorization.k8s.io", "RoleBinding"): {"subjects": _ATOMIC, "roleRef": _ATOMIC},
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): {"subjects": _ATOMIC, "roleRef": _ATOMIC},
}


@cache
def _struct(name: str) -> MergeType:
    return MergeType("struct", fields=_TABLE[name], other=undeclared)


def object_meta() -> MergeType:
    """The metadata of any object."""
    return _struct("ObjectMeta")


@cache
def merge_type(gvk: Gvk) -> MergeType:
    """How objects of a built-in kind merge; kinds without an entry merge field by field, their lists as one."""
    group, _, kind = gvk
    fields: dict[str, _Entry] = {"apiVersion": of_leaf, "kind": of_leaf, "metadata": object_meta}
    return MergeType("struct", fields={**fields, **_KINDS.get((group, kind), {})}, other=undeclared)


__all__ = ["LEAF", "Gvk", "merge_type", "object_meta"]
