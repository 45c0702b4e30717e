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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from selm_local import account
from selm_local.apiclient import ApiClient, ApiRefusal, ApiUnavailable
from selm_local.launch import Daemon, LocalError, choose_port
from selm_local.node.runs import ENV_RUN
from selm_local.node.shutdown import end_pods
from selm_local.node.volumes import remove_memory_volumes
from selm_local.quantity import parse_quantity
from selm_local.state import ENV_STATE_DIR, StateDir, read_json

__all__ = ["LocalError", "Status", "down", "kubeconfig", "status", "store_environment", "up"]

BUCKET = "selm"
REGION = "us-east-1"
SECRET = {"namespace": "default", "name": "s3"}
RUNTIME_IMAGE = "selm-runtime:local"
"""Images are not pulled here: the name only says in the run's status what it was run with."""
OPERATOR_SETTLES = 1.0
"""Seconds. An operator that cannot work at all (a missing library, a wrong setting) has ended by then."""
CRD = "selmruns.selm.dev.yaml"


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


def kubeconfig() -> Path:
    """Where the kubeconfig of the embedded cluster is, whether or not it runs."""
    return StateDir.default().kubeconfig


def store_environment() -> dict[str, str]:
    """The variables with which AWS clients reach the embedded S3.

    Raises:
        LocalError: the store was never started.
    """
    return _store_environment(StateDir.default())


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
        notes = _furnish(state)
        notes += _start_operator(state)
        return _status(state, notes)


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
    return _status(StateDir.default(), [])


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
    if daemon.process is not None and _store_answers(state):
        return
    daemon.stop()
    port = choose_port(daemon.record.get("port"), "the store")
    command = [sys.executable, "-m", "selm_local", "s3", "--state", str(state.root), "--port", str(port)]
    process = daemon.start(command, _inherited(), {"port": port})
    daemon.wait_until(lambda: _store_answers(state), process)


def _start_cluster(state: StateDir, cpus: int | None, memory: str | None, gpus: int) -> None:
    daemon = Daemon(state, "cluster")
    before = daemon.record.get("node") or {}
    node = {
        "cpus": cpus if cpus is not None else before.get("cpus"),
        "memory": memory or before.get("memory"),
        "gpus": gpus or before.get("gpus", 0),
    }
    if daemon.process is not None and node == before and _cluster_answers(state):
        return
    daemon.stop()  # containers go on running: the new daemon takes them over
    port = choose_port(daemon.record.get("port"), "the API server")
    command = [sys.executable, "-m", "selm_local", "cluster", "--state", str(state.root), "--port", str(port)]
    for name, value in node.items():
        if value:
            command += [f"--{name}", str(value)]
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        command += ["--container-default", f"{name}={_store_environment(state)[name]}"]
    process = daemon.start(command, _inherited(), {"port": port, "node": node})
    daemon.wait_until(lambda: _cluster_answers(state), process)


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


def _furnish(state: StateDir) -> list[str]:
    """The bucket, the Secret with its credentials, and the CRD. Returns notes on what is missing."""
    client = boto3.client("s3", **_store_client_arguments(state))
    try:
        client.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise LocalError(f"the bucket {BUCKET} cannot be made: {error}") from error
    env = _store_environment(state)
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET["name"], "namespace": SECRET["namespace"]},
        "stringData": {name: env[name] for name in keys},
    }
    api = ApiClient(state.kubeconfig)
    try:
        api.apply(f"/api/v1/namespaces/{SECRET['namespace']}/secrets/{SECRET['name']}", secret)
        path = _crd_file()
        if path is None:
            return [f"CRD       crds/{CRD} is not there: the kind SELMRun is not served"]
        crd = yaml.safe_load(path.read_text(encoding="utf-8"))
        where = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        api.apply(where, crd)
        _wait_established(api, where)
    except (ApiRefusal, ApiUnavailable) as error:
        raise LocalError(f"the cluster cannot be furnished: {error}") from error
    return []


def _wait_established(api: ApiClient, where: str) -> None:
    end = time.monotonic() + 30
    while True:
        conditions = (api.get(where).get("status") or {}).get("conditions") or []
        if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
            return
        if time.monotonic() > end:
            raise LocalError(f"the CRD was not established: {conditions}")
        time.sleep(0.05)


def _crd_file() -> Path | None:
    """The CRD's file: in the source tree, or where an installation puts shared data."""
    here = Path(__file__).resolve()
    candidates = [here.parents[2] / "crds" / CRD, Path(sys.prefix) / "share" / "selm" / "crds" / CRD]
    return next((path for path in candidates if path.is_file()), None)


# --- looking


def _status(state: StateDir, notes: list[str]) -> Status:
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
        store = _store_environment(state)["AWS_ENDPOINT_URL"]
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


def _cluster_answers(state: StateDir) -> bool:
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


def _store_answers(state: StateDir) -> bool:
    try:
        boto3.client("s3", **_store_client_arguments(state)).list_buckets()
    except (LocalError, BotoCoreError, ClientError):
        return False
    return True


def _store_environment(state: StateDir) -> dict[str, str]:
    port = Daemon(state, "s3").record.get("port")
    found = read_json(state.s3 / "credentials.json")
    if port is None or found is None:
        raise LocalError(f"the store of {state.root} was never started; start it with `selm local up`")
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": found["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["secretAccessKey"],
        "AWS_DEFAULT_REGION": REGION,
    }


def _store_client_arguments(state: StateDir) -> dict[str, Any]:
    env = _store_environment(state)
    return {
        "endpoint_url": env["AWS_ENDPOINT_URL"],
        "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
        "region_name": REGION,
        "config": Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, proxies={}),
    }


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
