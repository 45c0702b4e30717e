"""Resource quotas: what a namespace uses, and the refusal of what would exceed it. Pure but for reading the storage.

Admission and the controller that fills `status` share it. Source: kubernetes/plugin/pkg/admission/resourcequota and
pkg/quota/v1/evaluator/core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from selm_local.apiserver.errors import forbidden
from selm_local.apiserver.kinds.podspec import quantity
from selm_local.apiserver.kinds.quotas import COMPUTE, OBJECTS
from selm_local.apiserver.resources import PODS, RESOURCE_QUOTAS, Resource
from selm_local.apiserver.storage import Object, Storage
from selm_local.quantity import canonical, format_binary

Usage = dict[str, Decimal]
_TERMINAL = ("Succeeded", "Failed")


def format_quantity(name: str, value: Decimal) -> str:
    """A count or an amount of resource `name` as Kubernetes prints it."""
    if name.endswith(("memory", "storage")):
        return format_binary(int(value))
    return canonical(str(value))


def _amounts(spec: Object, kind: str) -> Usage:
    """requests or limits of a whole pod: the sum of its containers, or one init container where that is more."""
    total: Usage = {}
    for container in spec.get("containers") or []:
        for name, text in ((container.get("resources") or {}).get(kind) or {}).items():
            total[name] = total.get(name, Decimal(0)) + (quantity(text) or Decimal(0))
    for container in spec.get("initContainers") or []:
        for name, text in ((container.get("resources") or {}).get(kind) or {}).items():
            total[name] = max(total.get(name, Decimal(0)), quantity(text) or Decimal(0))
    return total


def pod_usage(pod: Object) -> Usage:
    """What a pod takes of a quota; one that has ended takes no more than its place among the objects."""
    used: Usage = {"count/pods": Decimal(1)}
    if (pod.get("status") or {}).get("phase") in _TERMINAL:
        return used
    used["pods"] = Decimal(1)
    requests, limits = _amounts(pod["spec"], "requests"), _amounts(pod["spec"], "limits")
    for name, value in requests.items():
        used[f"requests.{name}"] = value
        if name in COMPUTE:
            used[name] = value
    used |= {f"limits.{name}": value for name, value in limits.items() if name in COMPUTE}
    return used


def object_usage(resource: Resource, obj: Object) -> Usage:
    if resource == PODS:
        return pod_usage(obj)
    used = {f"count/{resource}": Decimal(1)}
    if not resource.group and resource.plural in OBJECTS:
        used[resource.plural] = Decimal(1)
    if not resource.group and resource.plural == "persistentvolumeclaims":
        asked = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage")
        used["requests.storage"] = quantity(asked or "0") or Decimal(0)
    return used


def in_scope(quota: Object, resource: Resource, obj: Object) -> bool:
    """Whether the quota is about this object at all."""
    spec = quota.get("spec") or {}
    wanted: list[tuple[str, str, list[str]]] = [(scope, "Exists", []) for scope in spec.get("scopes") or []]
    for one in (spec.get("scopeSelector") or {}).get("matchExpressions") or []:
        wanted.append((one["scopeName"], one["operator"], one.get("values") or []))
    if not wanted:
        return True
    return resource == PODS and all(_scope_holds(*one, obj) for one in wanted)


def _scope_holds(scope: str, operator: str, values: list[str], pod: Object) -> bool:
    best_effort = not any(
        name in ("cpu", "memory") for kind in ("requests", "limits") for name in _amounts(pod["spec"], kind)
    )
    terminating = pod["spec"].get("activeDeadlineSeconds") is not None
    match scope:
        case "BestEffort":
            return best_effort
        case "NotBestEffort":
            return not best_effort
        case "Terminating":
            return terminating
        case "NotTerminating":
            return not terminating
    name = pod["spec"].get("priorityClassName")
    match operator:
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
    return bool(name)


def missing(quota: Object, pod: Object) -> str:
    """What a pod must say because a quota counts it: `limits.cpu for: a; requests.memory for: a,b`."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    found: dict[str, list[str]] = {}
    for name in hard:
        bare = name.removeprefix("requests.").removeprefix("limits.")
        if bare not in ("cpu", "memory"):
            continue
        kind = "limits" if name.startswith("limits.") else "requests"
        for container in [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]:
            if bare not in ((container.get("resources") or {}).get(kind) or {}):
                found.setdefault(name, []).append(container["name"])
    return "; ".join(f"{name} for: {','.join(found[name])}" for name in sorted(found))


class Quotas:
    """The quotas of a cluster. resources: all kinds that are stored, for counting."""

    def __init__(self, storage: Storage, resources: Callable[[], Iterable[Resource]]):
        self._storage = storage
        self._resources = resources

    def of(self, namespace: str) -> list[Object]:
        return [one.object for one in self._storage.all(RESOURCE_QUOTAS.storage, namespace)]

    def used(self, quota: Object) -> Usage:
        """What the namespace uses now of each resource that the quota limits."""
        namespace, hard = quota["metadata"]["namespace"], (quota.get("spec") or {}).get("hard") or {}
        total = {name: Decimal(0) for name in hard}
        for resource in self._resources():
            if not resource.namespaced or not _counted(resource, total):
                continue
            for stored in self._storage.all(resource.storage, namespace):
                if in_scope(quota, resource, stored.object):
                    for name, value in object_usage(resource, stored.object).items():
                        if name in total:
                            total[name] += value
        return total

    def status(self, quota: Object) -> Object:
        hard = (quota.get("spec") or {}).get("hard") or {}
        return {"hard": hard, "used": {name: format_quantity(name, value) for name, value in self.used(quota).items()}}

    def admit(self, resource: Resource, obj: Object) -> None:
        """Raises ApiError 403 where a new object would exceed a quota of its namespace."""
        namespace = obj["metadata"].get("namespace")
        if not namespace:
            return
        for quota in self.of(namespace):
            hard = (quota.get("spec") or {}).get("hard") or {}
            if not in_scope(quota, resource, obj):
                continue
            name = quota["metadata"]["name"]
            if resource == PODS and (lacks := missing(quota, obj)):
                raise _refuse(resource, obj, f"failed quota: {name}: must specify {lacks}")
            asked = {key: value for key, value in object_usage(resource, obj).items() if key in hard and value}
            if not asked:
                continue
            used = self.used(quota)
            limits = {key: quantity(hard[key]) or Decimal(0) for key in asked}
            over = sorted(key for key in asked if used[key] + asked[key] > limits[key])
            if over:
                parts = [
                    f"{word}: " + ",".join(f"{key}={format_quantity(key, of[key])}" for key in over)
                    for word, of in (("requested", asked), ("used", used), ("limited", limits))
                ]
                raise _refuse(resource, obj, f"exceeded quota: {name}, " + ", ".join(parts))


def _counted(resource: Resource, names: Iterable[str]) -> bool:
    keys: Any = frozenset(names)
    if resource == PODS:
        return any(k in ("pods", "count/pods", *COMPUTE) or k.startswith(("requests.", "limits.")) for k in keys)
    if f"count/{resource}" in keys or (not resource.group and resource.plural in keys):
        return True
    return resource.plural == "persistentvolumeclaims" and "requests.storage" in keys


def _refuse(resource: Resource, obj: Object, why: str) -> Exception:
    return forbidden(resource.group, resource.plural, obj["metadata"].get("name") or "", why)
