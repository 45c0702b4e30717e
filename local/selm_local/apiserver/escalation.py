"""RBAC's own guard: nobody grants what he does not hold, unless he may `escalate` roles or `bind` them.

Source: kubernetes/pkg/registry/rbac/{role,rolebinding}/policybased and k8s.io/component-helpers/auth/rbac/validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from selm_local.apiserver import errors
from selm_local.apiserver.access import Access, Attributes, User
from selm_local.apiserver.resources import CLUSTER_ROLES, ROLES, Resource
from selm_local.apiserver.storage import Object, Storage

RBAC = "rbac.authorization.k8s.io"
Rule = Mapping[str, Any]
_EVERYTHING: tuple[Rule, ...] = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)
_NAMES = {
    "apiGroups": "APIGroups",
    "resources": "Resources",
    "resourceNames": "ResourceNames",
    "nonResourceURLs": "NonResourceURLs",
    "verbs": "Verbs",
}


class Guard:
    """Judges writes of roles and bindings by who asks."""

    def __init__(self, access: Access, storage: Storage):
        self._access = access
        self._storage = storage

    def check(self, resource: Resource, obj: Object, old: Object | None, user: User) -> None:
        """Raises ApiError 403, or 404 where a binding is to a role that is not there."""
        if resource.group != RBAC or "system:masters" in user.groups or _same_but_for_owners(obj, old):
            return
        if resource.kind in ("Role", "ClusterRole"):
            self._role(resource, obj, user)
        else:
            self._binding(resource, obj, user)

    def _role(self, resource: Resource, obj: Object, user: User) -> None:
        meta = obj["metadata"]
        what = Attributes("escalate", RBAC, resource.plural, meta.get("namespace"), meta.get("name", ""))
        if self._access.allowed(user, what):
            return
        rules: Iterable[Rule] = _EVERYTHING if obj.get("aggregationRule") else obj.get("rules") or []
        self._confirm(resource, obj, user, rules)

    def _binding(self, resource: Resource, obj: Object, user: User) -> None:
        namespace, reference = obj["metadata"].get("namespace"), obj.get("roleRef") or {}
        of_cluster = reference.get("kind") == "ClusterRole"
        role, name = (CLUSTER_ROLES if of_cluster else ROLES), str(reference.get("name") or "")
        if self._access.allowed(user, Attributes("bind", RBAC, role.plural, namespace, name)):
            return
        found = self._storage.get(role.storage, "" if of_cluster else namespace or "", name)
        if found is None:
            raise errors.not_found(RBAC, role.plural, name)
        self._confirm(resource, obj, user, found.object.get("rules") or [])

    def _confirm(self, resource: Resource, obj: Object, user: User, wanted: Iterable[Rule]) -> None:
        meta = obj["metadata"]
        lacking = uncovered(list(self._access.rules(user, meta.get("namespace"))), wanted)
        if not lacking:
            return
        groups = "[" + " ".join(json.dumps(group) for group in user.groups) + "]"
        listed = "\n".join(_shown(rule) for rule in lacking)
        why = (
            f"user {json.dumps(user.name)} (groups={groups}) is attempting to grant RBAC permissions not currently "
            f"held:\n{listed}"
        )
        raise errors.forbidden(RBAC, resource.plural, meta.get("name") or "", why)


def _same_but_for_owners(obj: Object, old: Object | None) -> bool:
    """The garbage collector's writes grant nothing."""
    if old is None:
        return False

    def rest(one: Object) -> Object:
        meta = {k: v for k, v in one["metadata"].items() if k not in ("ownerReferences", "finalizers", "managedFields")}
        return {**one, "metadata": meta}

    return rest(obj) == rest(old)


def uncovered(held: list[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What of the wanted rules, taken apart to single grants, none of the held rules gives."""
    return [one for rule in wanted for one in _single(rule) if not any(_covers(have, one) for have in held)]


def _single(rule: Rule) -> Iterable[Rule]:
    verbs = rule.get("verbs") or []
    for url in rule.get("nonResourceURLs") or []:
        for verb in verbs:
            yield {"nonResourceURLs": [url], "verbs": [verb]}
    for group in rule.get("apiGroups") or []:
        for resource in rule.get("resources") or []:
            for verb in verbs:
                base = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                names = rule.get("resourceNames") or []
                if not names:
                    yield base
                for name in names:
                    yield {**base, "resourceNames": [name]}


def _covers(have: Rule, one: Rule) -> bool:
    if not _holds(have.get("verbs"), one["verbs"][0]):
        return False
    if "nonResourceURLs" in one:
        url = one["nonResourceURLs"][0]
        patterns = have.get("nonResourceURLs") or []
        return any(p in ("*", url) or (p.endswith("*") and url.startswith(p[:-1])) for p in patterns)
    if not _holds(have.get("apiGroups"), one["apiGroups"][0]):
        return False
    resource, resources = one["resources"][0], have.get("resources") or []
    _, slash, below = resource.partition("/")
    if not ("*" in resources or resource in resources or (slash and f"*/{below}" in resources)):
        return False
    names = have.get("resourceNames") or []
    return not names or ("resourceNames" in one and one["resourceNames"][0] in names)


def _holds(listed: list[str] | None, value: str) -> bool:
    return listed is not None and ("*" in listed or value in listed)


def _shown(rule: Rule) -> str:
    parts = [f"{shown}:{json.dumps(rule[name])}" for name, shown in _NAMES.items() if name in rule]
    return "{" + ", ".join(parts) + "}"
