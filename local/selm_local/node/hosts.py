"""The names that pods see in their /etc/hosts: their own and those of headless Services' pods.

All pods share the machine's network, so every name means 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from selm_local.controllers.objects import Obj, condition_is, is_terminal, meta, name_of, namespace_of

CLUSTER_DOMAIN = "cluster.local"
LOOPBACK = "127.0.0.1"


def hostname_of(pod: Obj) -> str:
    """What gethostname(2) answers in the pod: spec.hostname, else the pod's name cut to a DNS label."""
    return str(pod["spec"].get("hostname") or name_of(pod)[:63].rstrip("-."))


def service_names(pods: Iterable[Obj], services: Iterable[Obj]) -> dict[str, list[str]]:
    """By namespace, the names `<hostname>.<subdomain>.<namespace>.svc…` that resolve now, each in its short forms.

    A pod has such a name where a headless Service of its subdomain's name selects it and it is running; where the
    Service does not publish unready addresses, it must be ready as well.
    """
    headless = {(namespace_of(one), name_of(one)): one for one in services if one["spec"].get("clusterIP") == "None"}
    found: dict[str, list[str]] = {}
    for pod in pods:
        subdomain, namespace = pod["spec"].get("subdomain"), namespace_of(pod)
        service = headless.get((namespace, subdomain)) if subdomain else None
        if service is None or is_terminal(pod) or not (pod.get("status") or {}).get("podIP"):
            continue
        selector = service["spec"].get("selector") or {}
        labels = meta(pod).get("labels") or {}
        if not selector or any(labels.get(key) != value for key, value in selector.items()):
            continue
        if not service["spec"].get("publishNotReadyAddresses") and not condition_is(pod, "Ready"):
            continue
        full = f"{hostname_of(pod)}.{subdomain}.{namespace}.svc"
        names = [f"{full}.{CLUSTER_DOMAIN}", full, f"{hostname_of(pod)}.{subdomain}.{namespace}"]
        found.setdefault(namespace, []).extend([*names, f"{hostname_of(pod)}.{subdomain}"])
    return {namespace: sorted(set(names)) for namespace, names in found.items()}


def render_hosts(machine: str, hostname: str, names: Iterable[str]) -> str:
    """A pod's /etc/hosts.

    Args:
        machine: the machine's own /etc/hosts. names: what `service_names` found for the pod's namespace.
    """
    lines = [f"{LOOPBACK}\t{name}" for name in [hostname, *sorted(set(names))]]
    # First match wins in resolvers: the pod's own names stand before the machine's.
    return "\n".join(["# Written by the embedded cluster's node.", *lines, machine.rstrip("\n"), ""])
