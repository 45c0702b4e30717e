"""`python -m selm_operator` as a process, against the embedded API server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.run_builder import make_run

pytestmark = pytest.mark.long

CRD = Path(__file__).parents[3] / "crds" / "selmruns.selm.dev.yaml"


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.2)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    state = tmp_path / "state"
    with (tmp_path / "cluster.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-m", "selm_local", "cluster", "--state", str(state)], stderr=log)
    path = state / "kubeconfig"
    try:
        wait_for(path.exists, 60)
        wait_for(lambda: kubectl(path, "get", "namespaces").returncode == 0, 60)
        applied = kubectl(path, "apply", "-f", str(CRD))
        assert applied.returncode == 0, applied.stderr
        yield path
    finally:
        stop(server)


def kubectl(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kubectl")), "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def environment(kubeconfig: Path, **more: str) -> dict[str, str]:
    waits = {"SELM_TIME_SCALE": "0.2", "SELM_HTTP_PORT": "0"}
    return {**os.environ, "KUBECONFIG": str(kubeconfig), "SELM_RUNTIME_IMAGE": "runtime:1", **waits, **more}


def started(kubeconfig: Path, log: Path, **more: str) -> subprocess.Popen[bytes]:
    env = environment(kubeconfig, **more)
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "selm_operator"], env=env, stderr=file)
    wait_for(lambda: "holding the lease" in log.read_text(), 60)
    return process


def holder(kubeconfig: Path) -> str:
    return kubectl(kubeconfig, "get", "lease", "selm-operator", "-o", "jsonpath={.spec.holderIdentity}").stdout


def test_sigterm_ends_it_with_0_and_gives_the_lease_away(kubeconfig: Path, tmp_path: Path) -> None:
    process = started(kubeconfig, tmp_path / "operator.log")
    try:
        assert holder(kubeconfig)
        time.sleep(3)  # kopf has taken the signals over by now
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert holder(kubeconfig) == ""
    finally:
        stop(process)


def test_a_lease_that_another_takes_ends_it_with_1(kubeconfig: Path, tmp_path: Path) -> None:
    process = started(kubeconfig, tmp_path / "operator.log")
    try:
        patch = '{"spec":{"holderIdentity":"another"}}'
        assert kubectl(kubeconfig, "patch", "lease", "selm-operator", "--type=merge", "-p", patch).returncode == 0
        assert process.wait(20) == 1
        assert holder(kubeconfig) == "another"
    finally:
        stop(process)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_its_probes_answer_and_the_audit_of_its_watch_raises_no_false_alarm(kubeconfig: Path, tmp_path: Path) -> None:
    """The audit runs every 6 s here; runs come and change meanwhile, by kubectl and by the operator itself."""
    with socket.socket() as found:
        found.bind(("", 0))
        port = int(found.getsockname()[1])
    process = started(kubeconfig, tmp_path / "operator.log", SELM_TIME_SCALE="0.02", SELM_HTTP_PORT=str(port))
    try:
        wait_for(lambda: get(port, "/readyz")[0] == 200, 30)
        run = tmp_path / "run.json"
        for name in ("first", "second"):
            run.write_text(json.dumps(make_run(name).obj()))
            applied = kubectl(kubeconfig, "create", "-f", str(run))
            assert applied.returncode == 0, applied.stderr
            time.sleep(8)
        metrics = get(port, "/metrics")[1]
        assert 'selm_runs{phase="Preparation"' in metrics
        assert "selm_operator_leader 1.0" in metrics
        kubectl(kubeconfig, "delete", "selmrun", "first")
        time.sleep(8)
        assert get(port, "/healthz") == (200, "[+]queue ok\n[+]watch-runs ok\n[+]watch-jobs ok\nok\n")
        assert get(port, "/readyz") == (200, "[+]api-server ok\n[+]watch-jobs ok\nok\n")
        second = subprocess.run(
            [sys.executable, "-m", "selm_operator"],
            env=environment(kubeconfig, SELM_HTTP_PORT=str(port)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 78
        assert f"SELM_HTTP_PORT is {port}, which cannot be listened on" in second.stderr
    finally:
        stop(process)


def test_without_a_cluster_it_ends_with_78_and_says_so(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
    env |= {"KUBECONFIG": str(tmp_path / "absent"), "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "selm_operator"], env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 78
    assert "neither KUBECONFIG nor a service account can be used" in ended.stderr
