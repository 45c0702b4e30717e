"""Where the embedded cluster keeps its state, and how files in it are written.

Layout of the state folder (`SELM_LOCAL_DIR`, default `$XDG_STATE_HOME/selm`):

    kubeconfig                 0600; names the API server, its CA and a token
    operator.kubeconfig        0600; the same with the token of the operator's ServiceAccount
    cluster.sqlite             the API server's objects
    tls/                       the API server's certificate and CA
    s3/                        buckets, objects and the store's credentials
    pods/<uid>/                a pod's logs, volumes and its containers' runs
    claims/<namespace>/<name>/ the folders behind PersistentVolumeClaims
    logs/<daemon>.log          cluster, s3, operator
    run/<daemon>.json          pid and start time of each daemon, ports, settings
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ENV_STATE_DIR = "SELM_LOCAL_DIR"


@dataclass(frozen=True)
class StateDir:
    """The folders and files of one embedded cluster."""

    root: Path

    @classmethod
    def default(cls) -> StateDir:
        """The folder that `SELM_LOCAL_DIR` names, else the one in the user's state home."""
        if given := os.environ.get(ENV_STATE_DIR):
            return cls(Path(given).expanduser().absolute())
        home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return cls(Path(home).expanduser().absolute() / "selm")

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def database(self) -> Path:
        return self.root / "cluster.sqlite"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def s3(self) -> Path:
        return self.root / "s3"

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def claims(self) -> Path:
        return self.root / "claims"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def create(self) -> None:
        """Make the folders; secrets lie in them, so nobody else may enter."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for folder in (self.tls, self.s3, self.pods, self.claims, self.logs, self.run):
            folder.mkdir(exist_ok=True)


def write_atomically(path: Path, data: bytes | str, mode: int = 0o600) -> None:
    """Replace a file as one step: a reader sees the old content or the new, also after a kill."""
    raw = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """Replace a JSON file as one step."""
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True) + "\n", mode)


def read_json(path: Path) -> Any | None:
    """What a JSON file holds, or None where there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def utc_now() -> str:
    """The time in UTC with microseconds, as metav1.MicroTime is written."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
