"""How the daemons stand: what runs, where it is reached, and what the node says of itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from selm_local.apiclient import ApiClient, ApiRefusal, ApiUnavailable
from selm_local.launch import Daemon, LocalError
from selm_local.state import StateDir
from selm_local.store_access import BUCKET, SECRET, environment


@dataclass(frozen=True)
class DaemonStatus:
    name: str
    running: bool
    detail: str


@dataclass(frozen=True)
class Status:
    """What runs, and where its state, logs and addresses are. `str()` gives it as text."""

    state: Path
    daemons: tuple[DaemonStatus, ...]
    server: str | None = None
    store: str | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def running(self) -> bool:
        """Whether every daemon runs."""
        return all(daemon.running for daemon in self.daemons)

    def __str__(self) -> str:
        rows = [f"{one.name:<9} {'running' if one.running else 'stopped':<8} {one.detail}" for one in self.daemons]
        rows += [f"state     {self.state}", f"logs      {self.state / 'logs'}"]
        if self.server:
            rows.append(f"API       {self.server} (KUBECONFIG={self.state / 'kubeconfig'})")
        if self.store:
            rows.append(f"S3        {self.store} (bucket {BUCKET}, credentials in Secret {SECRET['name']})")
        return "\n".join([*rows, *self.notes])


def look(state: StateDir, notes: list[str]) -> Status:
    """What runs now, with `notes` for the user. Starts and changes nothing."""
    found = []
    for name in ("cluster", "s3", "operator"):
        daemon = Daemon(state, name)
        process = daemon.process
        detail = f"pid {process.pid}, since {daemon.record.get('startedAt')}" if process else ""
        found.append(DaemonStatus(name, process is not None, detail))
    server = store = None
    if state.kubeconfig.is_file() and found[0].running:
        api = ApiClient(state.kubeconfig)
        server = api.server
        with contextlib.suppress(ApiUnavailable, ApiRefusal):
            notes = [*notes, *_node_notes(api)]
    with contextlib.suppress(LocalError):
        store = environment(state)["AWS_ENDPOINT_URL"]
    return Status(state.root, tuple(found), server, store, tuple(notes))


def _node_notes(api: ApiClient) -> list[str]:
    """What the node says of itself that a user must know."""
    notes = []
    for node in api.get("/api/v1/nodes")["items"]:
        status_ = node.get("status") or {}
        resources = ", ".join(f"{name} {value}" for name, value in sorted((status_.get("allocatable") or {}).items()))
        notes.append(f"node      {node['metadata']['name']}: {resources}")
        for one in status_.get("conditions") or []:
            if one["type"] == "ContainersIsolated" and one["status"] == "False":
                notes.append(f"          {one['message']}")
    return notes


def cluster_answers(state: StateDir) -> bool:
    """Whether the API server answers, and answers for this state's port."""
    port = Daemon(state, "cluster").record.get("port")
    if not state.kubeconfig.is_file():
        return False
    api = ApiClient(state.kubeconfig)
    return api.server.endswith(f":{port}") and api.ready() and _node_is_there(api)


def _node_is_there(api: ApiClient) -> bool:
    try:
        return bool(api.get("/api/v1/nodes")["items"])
    except (ApiUnavailable, ApiRefusal):
        return False
