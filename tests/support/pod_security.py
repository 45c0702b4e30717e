"""The restricted level of the Pod Security Standards, as violations of a pod's spec (v1.36's checks, Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
}


def violations(pod: Json) -> list[str]:
    """What of a pod's spec the level forbids; empty: it is admitted."""
    return [*_of_the_pod(pod), *(v for kind in KINDS for c in pod.get(kind) or () for v in _of_a_container(c, pod))]


KINDS = ("initContainers", "containers", "ephemeralContainers")


def _of_the_pod(pod: Json) -> Iterator[str]:
    context = pod.get("securityContext") or {}
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes") or ():
        yield from (f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    yield from (f"sysctl {s['name']}" for s in context.get("sysctls") or () if s["name"] not in SYSCTLS)
    if context.get("runAsUser") == 0:
        yield "runAsUser 0"


def _of_a_container(container: Json, pod: Json) -> Iterator[str]:
    of_pod, own = pod.get("securityContext") or {}, container.get("securityContext") or {}
    name = container["name"]
    capabilities = own.get("capabilities") or {}
    if own.get("privileged"):
        yield f"{name}: privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation"
    if capabilities.get("drop") != ["ALL"] and "ALL" not in (capabilities.get("drop") or ()):
        yield f"{name}: capabilities are not dropped"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities are added"
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot"
    if own.get("runAsUser") == 0:
        yield f"{name}: runAsUser 0"
    profile = (own.get("seccompProfile") or of_pod.get("seccompProfile") or {}).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccompProfile {profile}"
    if own.get("procMount") not in (None, "Default"):
        yield f"{name}: procMount"
    yield from (f"{name}: hostPort {p['hostPort']}" for p in container.get("ports") or () if p.get("hostPort"))
