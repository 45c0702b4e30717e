"""`selm local up`, `down` and `status`: the embedded cluster, its S3 and the operator as detached daemons."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from selm_local import account
from selm_local import store_access as access
from selm_local.apiclient import ApiClient, ApiRefusal, ApiUnavailable
from selm_local.furnish import furnish
from selm_local.launch import Daemon, LocalError, choose_port
from selm_local.node.runs import ENV_RUN
from selm_local.node.shutdown import end_pods
from selm_local.node.volumes import remove_memory_volumes
from selm_local.quantity import parse_quantity
from selm_local.standing import Status, cluster_answers, look
from selm_local.state import ENV_STATE_DIR, StateDir

__all__ = ["LocalError", "Status", "down", "kubeconfig", "status", "store_environment", "up"]

RUNTIME_IMAGE = "selm-runtime:local"
"""Images are not pulled here: the name only says in the run's status what it was run with."""
OPERATOR_SETTLES = 1.0
"""Seconds. An operator that cannot work at all (a missing library, a wrong setting) has ended by then."""


def kubeconfig() -> Path:
    """Where the kubeconfig of the embedded cluster is, whether or not it runs."""
    return StateDir.default().kubeconfig


def store_environment() -> dict[str, str]:
    """The variables with which AWS clients reach the embedded S3.

    Raises:
        LocalError: the store was never started.
    """
    return access.environment(StateDir.default())


def up(cpus: int | None = None, memory: str | None = None, gpus: int = 0) -> Status:
    """Start what does not run, and wait until all of it is ready. May be called at any time, by several at once.

    Args:
        cpus, memory: the node's resources; None: as before, at first the machine's. memory is a quantity ("8Gi").
        gpus: the node's nvidia.com/gpu; 0: as before.

    Raises:
        LocalError: something cannot be started; the message says what and why.
    """
    _check_resources(cpus, memory, gpus)
    state = StateDir.default()
    state.create()
    with _only_one(state):
        _start_store(state)
        _start_cluster(state, cpus, memory, gpus)
        notes = furnish(state)
        notes += _start_operator(state)
        return look(state, notes)


def down(delete_state: bool = False) -> None:
    """Stop everything: operator, cluster, the pods' processes (gracefully), and the store last.

    Pods that ran are afterwards failed as disrupted, as by the shutdown of a node: that costs a run nothing. With
    `delete_state`, objects, artifacts and logs are removed too.
    """
    state = StateDir.default()
    if not state.run.is_dir():
        return
    with _only_one(state):
        for name in ("operator", "cluster"):
            Daemon(state, name).stop()
        end_pods(state)
        Daemon(state, "s3").stop()
        if delete_state:
            for path in state.pods.iterdir():
                remove_memory_volumes(path.name)
            shutil.rmtree(state.root)


def status() -> Status:
    """What runs. Starts and changes nothing."""
    return look(StateDir.default(), [])


def _check_resources(cpus: int | None, memory: str | None, gpus: int) -> None:
    if cpus is not None and cpus < 1:
        raise LocalError(f"cpus: {cpus} is not allowed; a node has 1 or more")
    if gpus < 0:
        raise LocalError(f"gpus: {gpus} is not allowed; a node has 0 or more")
    if memory is not None:
        try:
            parse_quantity(memory)
        except ValueError as error:
            raise LocalError(f"memory: {error}") from error


# --- the daemons


def _start_store(state: StateDir) -> None:
    daemon = Daemon(state, "s3")
    if daemon.process is not None and access.answers(state):
        return
    daemon.stop()
    port = choose_port(daemon.record.get("port"), "the store")
    command = [sys.executable, "-m", "selm_local", "s3", "--state", str(state.root), "--port", str(port)]
    process = daemon.start(command, _inherited(), {"port": port})
    daemon.wait_until(lambda: access.answers(state), process)


def _start_cluster(state: StateDir, cpus: int | None, memory: str | None, gpus: int) -> None:
    daemon = Daemon(state, "cluster")
    before = daemon.record.get("node") or {}
    node = {
        "cpus": cpus if cpus is not None else before.get("cpus"),
        "memory": memory or before.get("memory"),
        "gpus": gpus or before.get("gpus", 0),
    }
    if daemon.process is not None and node == before and cluster_answers(state):
        return
    daemon.stop()  # containers go on running: the new daemon takes them over
    port = choose_port(daemon.record.get("port"), "the API server")
    command = [sys.executable, "-m", "selm_local", "cluster", "--state", str(state.root), "--port", str(port)]
    for name, value in node.items():
        if value:
            command += [f"--{name}", str(value)]
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        command += ["--container-default", f"{name}={access.environment(state)[name]}"]
    process = daemon.start(command, _inherited(), {"port": port, "node": node})
    daemon.wait_until(lambda: cluster_answers(state), process)


def _start_operator(state: StateDir) -> list[str]:
    """Start the operator; a list with a note where there is none to start."""
    package = importlib.util.find_spec("selm_operator")
    folders = list(package.submodule_search_locations or []) if package is not None else []
    if not any((Path(folder) / "__main__.py").exists() for folder in folders):
        return ["operator  not installed: SELMRuns are stored but nobody works on them"]
    daemon = Daemon(state, "operator")
    if daemon.process is not None:
        return []
    env = {
        **_inherited(),
        **_operator_account(state),
        "SELM_SHARED_PATHS": "true",
        "SELM_RUNTIME_IMAGE": RUNTIME_IMAGE,
        "SELM_HTTP_PORT": os.environ.get("SELM_HTTP_PORT", "0"),  # a machine's port is its owner's to give
    }
    process = daemon.start([sys.executable, "-m", "selm_operator"], env, {})
    settled = time.monotonic() + OPERATOR_SETTLES
    daemon.wait_until(lambda: time.monotonic() > settled, process)
    return []


def _operator_account(state: StateDir) -> dict[str, str]:
    """How the operator proves who it is: by its ServiceAccount, which has the chart's rights and no more."""
    path = account.rights_file()
    if path is None:
        raise LocalError(f"the list of the operator's rights, {account.RIGHTS}, is not there: install the project anew")
    rights = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        kubeconfig = account.grant(ApiClient(state.kubeconfig), state, rights)
    except (ApiRefusal, ApiUnavailable) as error:
        raise LocalError(f"the operator's account cannot be made: {error}") from error
    return {"KUBECONFIG": str(kubeconfig), "SELM_NAMESPACE": account.NAMESPACE}


def _inherited() -> dict[str, str]:
    """The environment for daemons; a marker of a pod that this runs in must not reach them."""
    return {name: value for name, value in os.environ.items() if name not in (ENV_RUN, ENV_STATE_DIR)}


@contextlib.contextmanager
def _only_one(state: StateDir) -> Iterator[None]:
    """One `up` or `down` at a time for one state folder."""
    handle = os.open(state.run / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
