"""What the server has: /api, /apis, group versions, and the aggregated form (apidiscovery.k8s.io/v2). Pure."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
from collections.abc import Iterable

from selm_local.apiserver.resources import Resource
from selm_local.apiserver.storage import Object

# The Kubernetes whose behaviour is followed; clients compare versions by it.
MAJOR, MINOR, PATCH = 1, 36, 2
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def version_priority(version: str) -> tuple[int, int, int]:
    """Sort key, best last: v2 > v1 > v1beta2 > v1beta1 > v1alpha1 (kube-aware version order)."""
    found = _VERSION.fullmatch(version)
    if not found:
        return (-1, 0, 0)
    major, stage, number = found.groups()
    return ({None: 2, "beta": 1, "alpha": 0}[stage], int(major), int(number or 0))


def versions_of(resources: Iterable[Resource], group: str) -> list[str]:
    """The versions of a group, the preferred one first."""
    return sorted({r.version for r in resources if r.group == group}, key=version_priority, reverse=True)


def groups_of(resources: Iterable[Resource]) -> list[str]:
    return sorted({r.group for r in resources if r.group})


def version_info() -> Object:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": str(MAJOR),
        "minor": str(MINOR),
        "gitVersion": f"v{MAJOR}.{MINOR}.{PATCH}+selm-local",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": f"{platform.system().lower()}/{machine}",
    }


def api_versions(address: str) -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_object(resources: Iterable[Resource], group: str) -> Object:
    listed = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions_of(list(resources), group)]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def group_list(resources: list[Resource]) -> Object:
    found = [group_object(resources, g) for g in groups_of(resources)]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def api_group(resources: list[Resource], group: str) -> Object:
    return {"kind": "APIGroup", "apiVersion": "v1", **group_object(resources, group)}


def resource_list(resources: Iterable[Resource], group: str, version: str) -> Object:
    """APIResourceList of one group version."""
    listed: list[Object] = []
    for r in sorted((r for r in resources if (r.group, r.version) == (group, version)), key=lambda r: r.plural):
        entry: Object = {
            "name": r.plural,
            "singularName": r.singular,
            "namespaced": r.namespaced,
            "kind": r.kind,
            "verbs": list(r.verbs),
        }
        if r.short_names:
            entry["shortNames"] = list(r.short_names)
        if r.categories:
            entry["categories"] = list(r.categories)
        if "list" in r.verbs:
            entry["storageVersionHash"] = _storage_hash(r)
        listed.append(entry)
        for s in sorted(r.subresources, key=lambda s: s.name):
            sub: Object = {
                "name": f"{r.plural}/{s.name}",
                "singularName": "",
                "namespaced": r.namespaced,
                "kind": s.kind or r.kind,
                "verbs": list(s.verbs),
            }
            if s.kind:
                sub |= {"group": s.group, "version": s.version}
            listed.append(sub)
    found: Object = {"kind": "APIResourceList", "apiVersion": "v1"}
    if not group:
        del found["apiVersion"]
    return {**found, "groupVersion": f"{group}/{version}" if group else version, "resources": listed}


def _storage_hash(resource: Resource) -> str:
    digest = hashlib.sha256(f"{resource.group}/{resource.version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def aggregated(resources: list[Resource], *, core: bool) -> Object:
    """APIGroupDiscoveryList: of the core group (at /api) or of all others (at /apis)."""
    groups = [""] if core else groups_of(resources)
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [_aggregated_version(resources, group, v) for v in versions_of(resources, group)],
        }
        for group in groups
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_version(resources: list[Resource], group: str, version: str) -> Object:
    found = sorted((r for r in resources if (r.group, r.version) == (group, version)), key=lambda r: r.plural)
    return {"version": version, "freshness": "Current", "resources": [_aggregated_resource(r) for r in found]}


def _aggregated_resource(r: Resource) -> Object:
    entry: Object = {
        "resource": r.plural,
        "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
        "scope": "Namespaced" if r.namespaced else "Cluster",
        "singularResource": r.singular,
        "verbs": list(r.verbs),
    }
    if r.short_names:
        entry["shortNames"] = list(r.short_names)
    if r.categories:
        entry["categories"] = list(r.categories)
    if r.subresources:
        entry["subresources"] = [
            {
                "subresource": s.name,
                "responseKind": {
                    "group": s.group if s.kind else r.group,
                    "version": s.version or r.version,
                    "kind": s.kind or r.kind,
                },
                "verbs": list(s.verbs),
            }
            for s in sorted(r.subresources, key=lambda s: s.name)
        ]
    return entry
