"""`selm local up`, `down`, `status`: the daemons' lives, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from selm_local import account, daemons, store_access
from selm_local.apiclient import ApiClient, ApiRefusal
from selm_local.launch import Daemon, LocalError, choose_port
from selm_local.node.runs import ENV_RUN
from selm_local.processes import ProcessId, all_pids, with_environment
from selm_local.state import StateDir, write_json
from support.local_cluster import make_pod

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateDir]:
    monkeypatch.setenv("SELM_LOCAL_DIR", str(tmp_path / "state"))
    found = StateDir.default()
    found.create()
    yield found
    daemons.down()


def test_the_state_lies_where_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELM_LOCAL_DIR", str(tmp_path))
    assert daemons.kubeconfig() == tmp_path / "kubeconfig"
    monkeypatch.delenv("SELM_LOCAL_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert daemons.kubeconfig() == tmp_path / "xdg" / "selm" / "kubeconfig"


def test_a_daemon_is_nobodys_child_and_ends_on_request(state: StateDir) -> None:
    daemon = Daemon(state, "sleeper")
    process = daemon.start(SLEEPER, dict(os.environ), {"port": 1})
    parent = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()
    assert os.getsid(process.pid) == process.pid
    assert (daemon.process, daemon.record["port"]) == (process, 1)
    daemon.stop()
    assert daemon.process is None


def test_a_stale_record_is_never_taken_for_a_running_daemon(state: StateDir) -> None:
    other = subprocess.Popen(SLEEPER)
    try:
        recycled = ProcessId.of(other.pid)
        assert recycled is not None
        record = {"process": {**recycled.to_json(), "start": recycled.start - 1}}
        write_json(state.run / "sleeper.json", record)
        daemon = Daemon(state, "sleeper")
        assert daemon.process is None
        daemon.stop()
        assert other.poll() is None, "who got the pid afterwards is left alone"
    finally:
        other.kill()
        other.wait()


def test_a_daemon_that_dies_at_its_start_says_why(state: StateDir) -> None:
    daemon = Daemon(state, "broken")

    def bring_up() -> None:
        process = daemon.start([sys.executable, "-c", "raise SystemExit('no such luck')"], dict(os.environ), {})
        daemon.wait_until(lambda: False, process)

    with pytest.raises(LocalError, match="no such luck"):
        bring_up()


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port} of the store is taken by another process"):
            choose_port(port, "the store")


def test_down_and_status_do_nothing_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELM_LOCAL_DIR", str(tmp_path / "none"))
    daemons.down(delete_state=True)
    assert not daemons.status().running
    assert not (tmp_path / "none").exists()
    with pytest.raises(LocalError, match="was never started; start it with `selm local up`"):
        daemons.store_environment()


class Http:
    """Writes to the cluster as kubectl does."""

    def __init__(self, state: StateDir) -> None:
        self._api = ApiClient(state.kubeconfig)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = False
        self._session.headers["Authorization"] = f"Bearer {(state.root / 'token').read_text().strip()}"

    def post(self, path: str, body: dict[str, Any]) -> None:
        answer = self._session.post(
            self._api.server + path, data=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 201, answer.text

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get(f"/api/v1/namespaces/default/pods/{name}")
        return found

    def until(self, name: str, phase: str) -> dict[str, Any]:
        end = time.monotonic() + 60
        while (found := self.pod(name))["status"].get("phase") != phase:
            assert time.monotonic() < end, found["status"]
            time.sleep(0.05)
        return found


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_cluster_lives_through_kills_stops_and_its_end(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    # The operator is another room's: here a stand-in shows that it is started with what it must be told.
    package = state.root.parent / "stand-in" / "selm_operator"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    told = state.root.parent / "told.json"
    code = f"import json, os, time; json.dump(dict(os.environ), open({str(told)!r}, 'w')); time.sleep(600)"
    (package / "__main__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    status = daemons.up(cpus=3, memory="2Gi")
    assert status.running, status
    assert "cpu 3, memory 2Gi" in str(status)
    assert [one.name for one in status.daemons] == ["cluster", "s3", "operator"]
    before = {name: Daemon(state, name).process for name in ("cluster", "s3", "operator")}
    daemons.up()
    assert {name: Daemon(state, name).process for name in before} == before, "a second time changes nothing"
    while not told.exists() or not told.read_text():
        time.sleep(0.05)
    env = json.loads(told.read_text())
    assert (env["SELM_SHARED_PATHS"], env["SELM_NAMESPACE"]) == ("true", account.NAMESPACE)
    operator = ApiClient(Path(env["KUBECONFIG"]))
    assert operator.get("/apis/batch/v1/namespaces/default/jobs")["items"] == []
    with pytest.raises(ApiRefusal, match=f"system:serviceaccount:{account.NAMESPACE}:{account.NAME}.* cannot list"):
        operator.get("/api/v1/namespaces/default/secrets")  # it has the chart's rights, not the administrator's

    http = Http(state)
    ending = "while ! test -e $GO; do sleep 0.05; done; exit 3"
    go = {"name": "GO", "value": str(state.root / "go")}
    http.post("/api/v1/namespaces/default/pods", make_pod("short", ending, container={"env": [go]}))
    http.post("/api/v1/namespaces/default/pods", make_pod("long", 'trap "exit 75" TERM; sleep 600 & wait'))
    http.until("short", "Running")
    long = http.until("long", "Running")
    marker = f"{long['metadata']['uid']}/main/0"
    pids = with_environment(ENV_RUN, marker)
    cluster = before["cluster"]
    assert cluster is not None
    cluster.send(signal.SIGKILL)
    (state.root / "go").touch()
    while cluster.alive:
        time.sleep(0.02)
    daemons.up()
    assert Daemon(state, "cluster").record["port"] == int(http._api.server.rpartition(":")[2]), "the address stays"
    ended = http.until("short", "Failed")
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert http.pod("long")["status"]["phase"] == "Running"
    assert set(pids) & set(with_environment(ENV_RUN, marker)), "the daemon's death is not the pods'"

    store = boto3.client("s3", **store_access.client_arguments(state))
    store.put_object(Bucket=store_access.BUCKET, Key="kept", Body=b"x")
    daemons.down()
    assert not any(one.running for one in daemons.status().daemons)
    assert with_environment(ENV_RUN, marker) == []
    daemons.up()
    disrupted = http.until("long", "Failed")
    assert disrupted["status"]["reason"] == "Terminated"
    assert boto3.client("s3", **store_access.client_arguments(state)).get_object(Bucket=store_access.BUCKET, Key="kept")
    daemons.down(delete_state=True)
    assert not state.root.exists()
    assert not [pid for pid in all_pids() if str(state.root) in _command(pid)], "nothing is left running"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cpus": 0}, "cpus: 0 is not allowed; a node has 1 or more"),
        ({"gpus": -1}, "gpus: -1 is not allowed"),
        ({"memory": "8 GB"}, "memory: '8 GB' is no quantity: allowed are numbers with a suffix"),
    ],
)
def test_resources_that_no_node_can_have_are_refused(
    arguments: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELM_LOCAL_DIR", str(tmp_path / "none"))
    with pytest.raises(LocalError) as error:
        daemons.up(**arguments)
    assert words in str(error.value)
    assert not (tmp_path / "none").exists()
