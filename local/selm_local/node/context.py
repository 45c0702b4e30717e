"""What all of a node's pods share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from selm_local.apiserver.registry import Registry
from selm_local.controllers.events import EventRecorder
from selm_local.controllers.objects import Obj
from selm_local.node.devices import Devices
from selm_local.node.isolation import Isolation
from selm_local.node.runs import ENV_RUN
from selm_local.state import ENV_STATE_DIR, StateDir


@dataclass(frozen=True)
class ApiAccess:
    """How containers reach the API server: where it listens, whom it is certified by (PEM), and who mints tokens.

    mint: (ServiceAccount, seconds, audiences, {kind, name, uid} of what the token is bound to) → token and its end.
    """

    host: str
    port: int
    ca: bytes
    mint: Callable[[Obj, int, Sequence[str], Obj], tuple[str, datetime]]

    def environment(self) -> dict[str, str]:
        """The variables by which clients in a pod find the server."""
        address = f"tcp://{self.host}:{self.port}"
        return {
            "KUBERNETES_SERVICE_HOST": self.host,
            "KUBERNETES_SERVICE_PORT": str(self.port),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(self.port),
            "KUBERNETES_PORT": address,
        }


@dataclass
class NodeContext:
    """The node's surroundings. names: resolvable names by namespace, kept up to date by the node's agent. api: None
    where no server listens; pods then get no token."""

    registry: Registry
    state: StateDir
    name: str
    base_env: Mapping[str, str]
    isolation: Isolation
    devices: Devices
    events: EventRecorder
    allocatable: dict[str, str]
    names: dict[str, list[str]] = field(default_factory=dict)
    api: ApiAccess | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


def container_environment(inherited: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The environment that takes the place of an image's: that of the shell which started the cluster.

    The user's AWS settings and kubeconfig are left out: a container has them only if its pod says so (a session
    token of the user beside a pod's own key would be refused by the store). The interpreter's folder comes first on
    PATH, so that `python` means the one with the project's packages.

    Args:
        defaults: what stands in for the image's own variables, such as AWS_ENDPOINT_URL.
    """
    dropped = ("AWS_", "KUBERNETES_")
    alone = {"KUBECONFIG", ENV_STATE_DIR, ENV_RUN, "JOB_COMPLETION_INDEX", "OLDPWD", "PWD"}
    env = {name: value for name, value in inherited.items() if not name.startswith(dropped) and name not in alone}
    folders = [str(Path(sys.executable).parent), *env.get("PATH", os.defpath).split(os.pathsep)]
    env["PATH"] = os.pathsep.join(dict.fromkeys(folders))
    if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in env):
        for name in ("NO_PROXY", "no_proxy"):
            known = [one for one in env.get(name, "").split(",") if one]
            env[name] = ",".join(dict.fromkeys([*known, "127.0.0.1", "localhost"]))
    return env | dict(defaults)
