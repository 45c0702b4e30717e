"""Training pods as the operator's Job starts them: one process a node, killed and asked to go."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from support.train_world import Pod, TrainWorld

pytestmark = pytest.mark.long

TWO_PODS = {"nodes": 2, "checkpoint": {"intervalSeconds": 0, "keep": 2}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TrainWorld:
    return TrainWorld(tmp_path_factory.mktemp("world"), pairs=26)


@pytest.fixture(scope="module")
def undisturbed(world: TrainWorld) -> str:
    config = world.config("undisturbed", **TWO_PODS)
    assert codes(world.run_pods(config)) == [0, 0]
    return weights(world, "undisturbed")


def codes(pods: list[Pod]) -> list[int | None]:
    return [pod.process.returncode for pod in pods]


def weights(world: TrainWorld, name: str) -> str:
    manifest = world.manifest(world.config(name, **TWO_PODS))
    assert manifest is not None
    return manifest.content_under("model/")


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        pytest.param("Training:step-done:1:index=1", [76, 1], id="rank 1 after the first step"),
        pytest.param("Training:step-done:5:index=0", [1, 76], id="rank 0 before the last step"),
        pytest.param("Training:checkpoint-committed:2:index=0", [1, 76], id="rank 0 after its second checkpoint"),
        pytest.param("Training:reference-done:1:index=0", [1, 76], id="rank 0 after the reference pass"),
        pytest.param("Training:before-commit:1:index=0", [-9, 0], id="the first pod's entry before the commit"),
    ],
)
def test_a_kill_is_told_from_its_echo_and_the_next_attempt_ends_with_the_same_weights(
    fault: str, ends: list[int], world: TrainWorld, undisturbed: str
) -> None:
    name = "killed-" + fault.split(":")[1] + fault.split(":")[2]
    first = world.run_pods(world.config(name, **TWO_PODS), faults=fault)
    assert codes(first) == ends
    assert world.manifest(world.config(name, **TWO_PODS)) is None
    second = world.run_pods(world.config(name, attempt=2, **TWO_PODS), faults=fault)
    assert codes(second) == [0, 0]
    assert weights(world, name) == undisturbed
    assert second[0].said["manifest"].startswith("sha256:")


def test_sigterm_to_one_pod_ends_all_with_75_and_a_checkpoint(world: TrainWorld, undisturbed: str) -> None:
    name = "asked-to-go"
    pods = world.run_pods(world.config(name, **TWO_PODS), wait=False)
    while not any(line["selm"] == "checkpoint" for line in pods[0].lines):
        assert pods[0].process.poll() is None, pods[0].log.read_text()
        time.sleep(0.02)
    pods[1].process.send_signal(signal.SIGTERM)
    for pod in pods:
        pod.wait()
    if codes(pods) != [0, 0]:  # six steps may be over before the signal is seen
        assert codes(pods) == [75, 75]
        assert pods[0].said["error"]["reason"] == "Preempted"
        assert codes(world.run_pods(world.config(name, attempt=2, **TWO_PODS))) == [0, 0]
    assert weights(world, name) == undisturbed


def test_a_pod_whose_peers_never_come_is_not_a_failure_that_counts(world: TrainWorld) -> None:
    config = world.config("alone", **TWO_PODS)
    pods = world.run_pods(config, only=(0,), SELM_TIME_SCALE="0.02")
    assert codes(pods) == [76]
    assert pods[0].said["error"]["reason"] == "PeerLost"


def test_ranks_do_not_outlive_their_pods_first_process(world: TrainWorld) -> None:
    pods = world.run_pods(world.config("orphans", **TWO_PODS), wait=False)
    children = Path(f"/proc/{pods[0].process.pid}/task/{pods[0].process.pid}/children")
    while len(found := children.read_text().split()) == 0:
        time.sleep(0.02)
    agent = int(found[0])
    time.sleep(2)
    for pod in pods:
        pod.process.kill()
        pod.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{agent}").exists():
        assert time.monotonic() < deadline, "torchrun's agent lives on"
        time.sleep(0.05)
