"""What a container's run is, from the pod's specification: pure but for looking at paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selm_local.controllers.objects import Obj, namespace_of
from selm_local.node.hosts import LOOPBACK, hostname_of
from selm_local.node.isolation import Isolation
from selm_local.node.mounts import Mount
from selm_local.node.runs import PodFolder, Run
from selm_local.node.sources import Sources, containers_of, environment, expand
from selm_local.node.volumes import resolve_mount
from selm_local.quantity import whole

ENV_TERMINATION_LOG = "SELM_TERMINATION_LOG"
"""Where the termination message goes when it cannot be mounted at its usual path."""


class CreateError(Exception):
    """The container cannot be made as specified: waiting reason CreateContainerError."""


@dataclass(frozen=True)
class Surroundings:
    """What the node gives every container. gpus: the devices assigned to the pod; None: the node manages none.
    pod: as containers find it, with what the node added; None: it added nothing."""

    folder: PodFolder
    volumes: Mapping[str, Path]
    sources: Sources
    base_env: Mapping[str, str]
    isolation: Isolation
    gpus: tuple[int, ...] | None = None
    pod: Obj | None = None


def unsupported(pod: Obj) -> list[str]:
    """Fields of the pod whose behaviour this node does not have; it refuses such a pod instead of pretending."""
    found = []
    for container in containers_of(pod):
        for name in ("lifecycle", "tty", "stdin", "volumeDevices"):
            if container.get(name):
                found.append(f"containers[{container['name']}].{name}")
        for name in ("livenessProbe", "readinessProbe", "startupProbe"):
            if "grpc" in (container.get(name) or {}):
                found.append(f"containers[{container['name']}].{name}.grpc")
    for container in pod["spec"].get("initContainers") or []:
        if container.get("restartPolicy"):
            found.append(f"initContainers[{container['name']}].restartPolicy")
    return found


def build_run(pod: Obj, container: Obj, run: Run, around: Surroundings) -> dict[str, Any]:
    """The content of the run's `run.json`.

    Raises:
        ConfigError: the environment refers to something that is missing.
        VolumeError: a mount's subPath is wrong.
        CreateError: there is no command.
    """
    if around.pod is not None:
        container = next(one for one in containers_of(around.pod) if one["name"] == container["name"])
    given = environment(pod, container, around.sources)
    if not container.get("command"):
        raise CreateError(
            f"container {container['name']!r} has no command: images are not pulled here, so there is no entry point "
            "to run; set `command`"
        )
    argv = [expand(word, given) for word in [*container["command"], *(container.get("args") or [])]]
    hostname = hostname_of(pod)
    env = {**around.base_env, "HOSTNAME": hostname}
    if around.gpus is not None:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, around.gpus))
    env |= given
    mounts = [
        Mount(
            str(resolve_mount(around.volumes[one["name"]], one, given, pod)),
            one["mountPath"].rstrip("/") or "/",
            bool(one.get("readOnly")),
        )
        for one in container.get("volumeMounts") or []
    ]
    if around.isolation == "none":
        table = {mount.target: mount.source for mount in mounts}
        subdomain, namespace = pod["spec"].get("subdomain"), namespace_of(pod)
        env = {name: translate(value, table, subdomain, namespace) for name, value in env.items()}
        env[ENV_TERMINATION_LOG] = str(run.termination_log)
        argv = [translate(word, table, subdomain, namespace) for word in argv]
        mounts = []
    else:
        taken = {mount.target for mount in mounts}
        own = {
            container.get("terminationMessagePath") or "/dev/termination-log": run.termination_log,
            "/etc/hosts": around.folder.hosts,
        }
        mounts += [Mount(str(source), target) for target, source in own.items() if target not in taken]
    limits = (container.get("resources") or {}).get("limits") or {}
    return {
        "argv": argv,
        "env": env,
        "workingDir": container.get("workingDir") or str(around.folder.work),
        "workingDirGiven": bool(container.get("workingDir")),
        "hostname": hostname,
        "isolation": around.isolation,
        "mounts": [mount.to_json() for mount in mounts],
        "memoryLimit": whole(limits["memory"]) if "memory" in limits else None,
    }


def translate(text: str, table: Mapping[str, str], subdomain: str | None, namespace: str) -> str:
    """Replace mount paths by the folders behind them, and the subdomain's host names by the loopback address.

    For machines on which nothing can be mounted. Only whole paths and their beginnings are replaced: "/data" changes
    "/data/x" and "--in=/data", not "/database".
    """
    for target in sorted(table, key=len, reverse=True):
        pattern = rf"(?<![\w./-]){re.escape(target)}(?=$|[/:;,\"'\s])"
        text = re.sub(pattern, table[target].replace("\\", r"\\"), text)
    if subdomain:
        labels = rf"{re.escape(subdomain)}(\.{re.escape(namespace)}(\.svc(\.cluster\.local)?)?)?"
        text = re.sub(rf"(?<![\w.-])[a-z0-9-]+\.{labels}(?![\w.-])", LOOPBACK, text)
    return text
