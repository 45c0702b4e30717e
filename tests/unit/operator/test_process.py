"""`python -m selm_operator` as a process, against the embedded API server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


def started(kubeconfig: Path, log: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "KUBECONFIG": str(kubeconfig), "SELM_RUNTIME_IMAGE": "runtime:1", "SELM_TIME_SCALE": "0.2"}
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


def test_without_a_cluster_it_ends_with_78_and_says_so(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
    env |= {"KUBECONFIG": str(tmp_path / "absent"), "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "selm_operator"], env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 78
    assert "neither KUBECONFIG nor a service account can be used" in ended.stderr
