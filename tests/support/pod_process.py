"""A container of a rendered pod as a process, with what a kubelet gives it: its variables, its ServiceAccount's token at
the usual place, a read-only root file system."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
"""/var/run is a link to /run."""


def mounts_allowed() -> bool:
    """Whether this machine lets a process have mounts of its own."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def environment(pod: Mapping[str, Any], namespace: str) -> dict[str, str]:
    """The variables of the pod's one container."""
    (container,) = pod["containers"]
    found = {}
    for entry in container["env"]:
        if "valueFrom" in entry:
            assert entry["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"
        found[entry["name"]] = entry.get("value", namespace)
    return found


@contextlib.contextmanager
def operator(
    folder: Path, variables: Mapping[str, str], *, namespace: str, token: str, authority: Path, port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m selm_operator` in the cluster at 127.0.0.1:port, until the end of the block; its log is in `folder`."""
    account = folder / "account"
    account.mkdir(exist_ok=True)
    (account / "token").write_text(token)
    (account / "namespace").write_text(namespace)
    (account / "ca.crt").write_bytes(authority.read_bytes())
    steps = [
        "mount -t tmpfs tmpfs /run",
        f"mkdir -p {ACCOUNT}",
        f"mount --bind {shlex.quote(str(account))} {ACCOUNT}",
        "mount -o remount,bind,ro /",
        f"exec {shlex.quote(sys.executable)} -m selm_operator",
    ]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TZ")}
    with open(folder / "operator.log", "ab") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", "\n".join(steps)],
            env={
                **kept,
                **variables,
                "HOME": "/nonexistent",
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(port),
            },
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
