"""Which pending pods fit on the node: pure (kube-scheduler's NodeResourcesFit for one node)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from selm_local.controllers.objects import Obj, is_deleting, is_terminal, meta
from selm_local.quantity import parse_quantity


@dataclass(frozen=True)
class Placement:
    """bind: pods to bind, in order. waiting: pods that do not fit, each with the scheduler's message."""

    bind: tuple[Obj, ...]
    waiting: tuple[tuple[Obj, str], ...]


def requests_of(pod: Obj) -> dict[str, Fraction]:
    """What a pod asks the node for: containers summed, at least each init container; limits stand in for requests."""
    total: dict[str, Fraction] = {}
    for container in pod["spec"]["containers"]:
        for name, value in _requests(container).items():
            total[name] = total.get(name, Fraction(0)) + value
    for container in pod["spec"].get("initContainers") or []:
        for name, value in _requests(container).items():
            total[name] = max(total.get(name, Fraction(0)), value)
    total["pods"] = Fraction(1)
    return total


def place(pods: Iterable[Obj], node: Obj) -> Placement:
    """Decide for all pods of the cluster at once.

    Pods are taken by priority, then in the order of their creation; one that does not fit holds up no other.
    """
    name, labels = meta(node)["name"], meta(node).get("labels") or {}
    free = {key: parse_quantity(value) for key, value in node["status"]["allocatable"].items()}
    pending: list[Obj] = []
    for pod in pods:
        if pod["spec"].get("nodeName") == name and not is_terminal(pod):
            for resource, value in requests_of(pod).items():
                free[resource] = free.get(resource, Fraction(0)) - value
        elif not pod["spec"].get("nodeName") and not is_deleting(pod) and not is_terminal(pod):
            pending.append(pod)
    pending.sort(key=lambda pod: (-int(pod["spec"].get("priority") or 0), meta(pod)["creationTimestamp"], _order(pod)))
    bind: list[Obj] = []
    waiting: list[tuple[Obj, str]] = []
    for pod in pending:
        if pod["spec"].get("schedulerName", "default-scheduler") != "default-scheduler":
            continue
        if pod["spec"].get("schedulingGates"):
            continue  # the API server has said so in the pod's condition
        wanted = requests_of(pod)
        reasons = _misfits(pod, wanted, free, labels, bool(node["spec"].get("unschedulable")))
        if reasons:
            waiting.append((pod, _message(reasons)))
            continue
        for resource, value in wanted.items():
            free[resource] = free.get(resource, Fraction(0)) - value
        bind.append(pod)
    return Placement(tuple(bind), tuple(waiting))


def _order(pod: Obj) -> int:
    """Creation times have whole seconds; the version tells the order within one."""
    return int(meta(pod).get("resourceVersion") or 0)


def _requests(container: Obj) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse_quantity(value) for name, value in merged.items()}


def _misfits(
    pod: Obj, wanted: dict[str, Fraction], free: dict[str, Fraction], labels: dict[str, str], cordoned: bool
) -> list[str]:
    if cordoned:
        return ["1 node(s) were unschedulable"]
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return ["1 node(s) didn't match Pod's node affinity/selector"]
    short = [name for name, value in wanted.items() if value > max(free.get(name, Fraction(0)), Fraction(0))]
    return ["1 Too many pods" if name == "pods" else f"1 Insufficient {name}" for name in sorted(short) if wanted[name]]


def _message(reasons: list[str]) -> str:
    return (
        f"0/1 nodes are available: {', '.join(reasons)}. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
