"""The pure parts of the node: environments, volumes, names, runs, statuses, logs, backed by files in a temporary folder."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from selm_local.node.containers import crash_backoff
from selm_local.node.context import container_environment
from selm_local.node.devices import Devices, DevicesExhausted
from selm_local.node.hosts import render_hosts, service_names
from selm_local.node.logfile import LINE_LIMIT, LogWriter, times_of
from selm_local.node.runs import PodFolder, RunState
from selm_local.node.sources import ConfigError, Sources, environment, expand, field_value, resource_value
from selm_local.node.spec import translate
from selm_local.node.status import ContainerView, Waiting, pod_status
from selm_local.node.volumes import VolumeError, VolumeRoots, prepare, resolve_mount
from selm_local.processes import ProcessId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "d", "uid": "u", "labels": {"a": 'x"y'}, "annotations": {"n": "1"}},
    "spec": {"containers": [{"name": "main"}], "nodeName": "n"},
}
SOURCES = Sources(
    secrets={"s": {"data": {"k": base64.b64encode(b"secret").decode()}}},
    config_maps={"c": {"data": {"k": "config", "z": "last"}}},
    allocatable={"cpu": "2", "memory": "1Gi"},
)


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        ("$(A)-$(B)", {"A": "1", "B": "2"}, "1-2"),
        ("$(MISSING)", {}, "$(MISSING)"),
        ("$$(A)", {"A": "1"}, "$(A)"),
        ("cost: $5 $$", {}, "cost: $5 $"),
        ("$(A)$(A", {"A": "1"}, "1$(A"),
    ],
)
def test_variables_expand_as_in_kubernetes(text: str, env: dict[str, str], expected: str) -> None:
    assert expand(text, env) == expected


@pytest.mark.parametrize(
    ("sentence", "value_from", "words"),
    [
        ("no such Secret", {"secretKeyRef": {"name": "x", "key": "k"}}, 'secret "x" not found'),
        ("no such key", {"secretKeyRef": {"name": "s", "key": "x"}}, "couldn't find key x in Secret d/s"),
        ("no such field", {"fieldRef": {"fieldPath": "spec.x"}}, "'spec.x' is not known; allowed: metadata.name"),
        ("no such resource", {"resourceFieldRef": {"resource": "cpu"}}, "'cpu' is not known; allowed: limits.cpu"),
    ],
)
def test_what_the_environment_misses_is_named(sentence: str, value_from: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        environment(POD, {"name": "main", "env": [{"name": "A", "valueFrom": value_from}]}, SOURCES)
    assert words in str(error.value), sentence


def test_the_pods_environment_goes_before_what_it_draws_from() -> None:
    container = {
        "name": "main",
        "envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "none", "optional": True}}],
        "env": [{"name": "k", "value": "own"}, {"name": "m", "value": "$(k)/$(z)"}],
    }
    assert environment(POD, container, SOURCES) == {"k": "own", "z": "last", "m": "own/last"}


def test_the_downward_api_gives_fields_and_resources() -> None:
    assert field_value(POD, "metadata.labels['a']") == 'x"y'
    assert field_value(POD, "metadata.labels") == 'a="x\\"y"'
    container = {"resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}}}
    assert resource_value(container, "limits.cpu", None, {}) == "2"
    assert resource_value(container, "limits.cpu", "1m", {}) == "1500"
    assert resource_value(container, "requests.memory", "1Mi", {}) == "100"
    assert resource_value({}, "limits.memory", "1Mi", SOURCES.allocatable) == "1024"


def volume_pod(**volume: Any) -> dict[str, Any]:
    return {**POD, "spec": {**POD["spec"], "volumes": [{"name": "v", **volume}]}}


@pytest.mark.parametrize(
    ("sentence", "volume", "words"),
    [
        ("a missing Secret", {"secret": {"secretName": "x"}}, 'volume "v" : secret "x" not found'),
        ("a missing key", {"configMap": {"name": "c", "items": [{"key": "q", "path": "q"}]}}, 'configmap key: "q"'),
        ("a missing claim", {"persistentVolumeClaim": {"claimName": "x"}}, 'persistentvolumeclaim "x" not found'),
        ("a missing folder", {"hostPath": {"path": "/no/such", "type": "Directory"}}, "/no/such is not a Directory"),
        ("an unsupported kind", {"nfs": {"server": "s", "path": "/"}}, "volumes of kind nfs are not supported"),
        (
            "a path that leads out",
            {"secret": {"secretName": "s", "items": [{"key": "k", "path": "../k"}]}},
            "leads out",
        ),
    ],
)
def test_what_a_volume_misses_is_named(tmp_path: Path, sentence: str, volume: dict[str, Any], words: str) -> None:
    with pytest.raises(VolumeError) as error:
        prepare(volume_pod(**volume), VolumeRoots(tmp_path / "v", tmp_path / "claims"), SOURCES, set())
    assert words in str(error.value), sentence


def test_projected_volumes_join_their_sources(tmp_path: Path) -> None:
    sources = [
        {"secret": {"name": "s"}},
        {"configMap": {"name": "c", "items": [{"key": "z", "path": "deep/z", "mode": 0o600}]}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    pod = volume_pod(projected={"sources": sources, "defaultMode": 0o640})
    folder = prepare(pod, VolumeRoots(tmp_path / "v", tmp_path), SOURCES, set())["v"]
    found = {
        str(p.relative_to(folder)): (p.read_text(), p.stat().st_mode & 0o777) for p in folder.rglob("*") if p.is_file()
    }
    assert found == {"k": ("secret", 0o640), "deep/z": ("last", 0o600), "name": ("p", 0o640)}


def test_a_claim_is_a_folder_that_outlives_pods(tmp_path: Path) -> None:
    pod = volume_pod(persistentVolumeClaim={"claimName": "data"})
    folder = prepare(pod, VolumeRoots(tmp_path / "v", tmp_path / "claims"), SOURCES, {"data"})["v"]
    assert folder == tmp_path / "claims" / "d" / "data"


@pytest.mark.parametrize("sub", ["..", "a/../../x", "link/x"])
def test_a_sub_path_stays_in_its_volume(tmp_path: Path, sub: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "link").symlink_to("/etc")
    with pytest.raises(VolumeError, match="leads out of the volume"):
        resolve_mount(volume, {"name": "v", "subPath": sub}, {}, POD)
    assert resolve_mount(volume, {"name": "v", "subPathExpr": "$(A)"}, {"A": "x"}, POD) == volume / "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/real"),
        ("/data/x", "/real/x"),
        ("--in=/data:/other", "--in=/real:/other"),
        ("/database", "/database"),
        ("x/data", "x/data"),
        ("/data/inner/y", "/deep/y"),
        ("train-0.svc:29500", "127.0.0.1:29500"),
        ("train-0.svc.d.svc.cluster.local", "127.0.0.1"),
        ("train-0.svc.example.org", "train-0.svc.example.org"),
        ('{"host":"train-0.svc"}', '{"host":"127.0.0.1"}'),
    ],
)
def test_paths_and_names_are_replaced_as_wholes(text: str, expected: str) -> None:
    assert translate(text, {"/data": "/real", "/data/inner": "/deep"}, "svc", "d") == expected


def names_pod(name: str, phase: str = "Running", ready: str = "False", **labels: str) -> dict[str, Any]:
    status = {"phase": phase, "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": ready}]}
    spec = {"hostname": name, "subdomain": "svc", "containers": []}
    return {"metadata": {"name": name, "namespace": "d", "labels": labels}, "spec": spec, "status": status}


def test_which_pods_have_names() -> None:
    service = {"metadata": {"name": "svc", "namespace": "d"}, "spec": {"clusterIP": "None", "selector": {"j": "x"}}}
    pods = [
        names_pod("up", j="x", ready="True"),
        names_pod("unready", j="x"),
        names_pod("other", j="y", ready="True"),
        names_pod("over", phase="Failed", j="x", ready="True"),
    ]
    assert service_names(pods, [service]) == {"d": ["up.svc", "up.svc.d", "up.svc.d.svc", "up.svc.d.svc.cluster.local"]}
    service["spec"]["publishNotReadyAddresses"] = True
    assert "unready.svc" in service_names(pods, [service])["d"]
    service["spec"]["clusterIP"] = "10.0.0.1"
    assert service_names(pods, [service]) == {}


def test_a_pods_own_names_stand_before_the_machines() -> None:
    text = render_hosts("127.0.0.1 localhost\n10.0.0.9 me\n", "me", ["a.svc"])
    assert text.splitlines()[1:] == ["127.0.0.1\tme", "127.0.0.1\ta.svc", "127.0.0.1 localhost", "10.0.0.9 me"]


def test_gpus_stay_with_their_pod_and_are_never_given_twice() -> None:
    devices = Devices(3)
    devices.restore("old", [1])
    assert devices.acquire("a", 2) == devices.acquire("a", 2) == (0, 2)
    with pytest.raises(DevicesExhausted, match="1 GPUs are asked for, 0 of 3 are free"):
        devices.acquire("b", 1)
    devices.release("old")
    assert devices.acquire("b", 1) == (1,)


def test_containers_do_not_inherit_the_users_cloud_settings() -> None:
    inherited = {"PATH": "/bin", "HOME": "/h", "AWS_SESSION_TOKEN": "t", "KUBECONFIG": "k", "https_proxy": "p"}
    env = container_environment(inherited, {"AWS_ENDPOINT_URL": "e"})
    assert env["AWS_ENDPOINT_URL"] == "e"
    assert not {"AWS_SESSION_TOKEN", "KUBECONFIG"} & set(env)
    assert env["PATH"].endswith(":/bin")
    assert "127.0.0.1" in env["no_proxy"]


def exited(code: int, after: float = 1) -> RunState:
    end = (NOW + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return RunState("exited", NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), end, code, None, "Error" if code else "Completed")


RUNNING = RunState("running", NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
ABSENT = RunState("absent")


@pytest.mark.parametrize(
    ("sentence", "policy", "init", "main", "ending", "phase"),
    [
        ("nothing has started", "Never", [], [ABSENT], False, "Pending"),
        ("one of two runs", "Never", [], [RUNNING, ABSENT], False, "Pending"),
        ("all run", "Never", [], [RUNNING, RUNNING], False, "Running"),
        ("one has ended, one runs", "Never", [], [exited(1), RUNNING], False, "Running"),
        ("all ended well", "Never", [], [exited(0), exited(0)], False, "Succeeded"),
        ("one failed", "Never", [], [exited(0), exited(1)], False, "Failed"),
        ("a failed one will be restarted", "OnFailure", [], [exited(1)], False, "Running"),
        ("an ended one will be restarted", "Always", [], [exited(0)], False, "Running"),
        ("init is at work", "Never", [RUNNING], [ABSENT], False, "Pending"),
        ("init failed", "Never", [exited(1)], [ABSENT], False, "Failed"),
        ("init failed and will be tried again", "OnFailure", [exited(1)], [ABSENT], False, "Pending"),
        ("ending before it started", "Always", [], [ABSENT], True, "Failed"),
        ("ending while it is being started", "Never", [], [RunState("prepared")], True, "Pending"),
        (
            "ending while one runs and one is being started",
            "Never",
            [],
            [RUNNING, RunState("prepared")],
            True,
            "Running",
        ),
        ("ending while it runs", "Always", [], [RUNNING], True, "Running"),
        ("ended by deletion", "Always", [], [exited(143)], True, "Failed"),
        ("ended well by deletion", "Always", [], [exited(0)], True, "Succeeded"),
    ],
)
def test_the_phase_follows_from_the_containers(
    sentence: str, policy: str, init: list[RunState], main: list[RunState], ending: bool, phase: str
) -> None:
    pod = {**POD, "spec": {**POD["spec"], "restartPolicy": policy}, "status": {}}
    views = [[ContainerView({"name": f"{n}"}, state=s) for n, s in enumerate(group)] for group in (init, main)]
    status = pod_status(pod, views[0], views[1], NOW, ending=ending)
    assert status["phase"] == phase, sentence
    ready = next(one for one in status["conditions"] if one["type"] == "Ready")
    assert (ready["status"] == "True") == all(one.phase == "running" for one in [*main, *init])


def test_a_status_that_did_not_change_is_equal_and_keeps_its_times() -> None:
    pod = {**POD, "status": {"conditions": [{"type": "Other", "status": "True"}], "qosClass": "Burstable"}}
    pod["status"] = pod_status(pod, [], [ContainerView({"name": "m"}, state=RUNNING)], NOW)
    later = pod_status(pod, [], [ContainerView({"name": "m"}, state=RUNNING)], NOW + timedelta(seconds=60))
    assert later == pod["status"]
    assert {"Other", "Ready"} <= {one["type"] for one in later["conditions"]}
    assert later["qosClass"] == "Burstable"


def test_a_waiting_container_shows_how_it_ended_before() -> None:
    view = ContainerView({"name": "m"}, restarts=1, state=exited(3), waiting=Waiting("CrashLoopBackOff", "back-off"))
    found = pod_status(POD, [], [view], NOW)["containerStatuses"][0]
    assert found["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert found["lastState"]["terminated"]["exitCode"] == 3


@pytest.mark.parametrize(("restarts", "seconds"), [(0, 0), (1, 10), (2, 20), (6, 300), (50, 300)])
def test_crashing_containers_wait_longer_each_time(restarts: int, seconds: int) -> None:
    view = ContainerView({"name": "m"}, restarts=restarts, state=exited(1))
    assert crash_backoff(view, NOW + timedelta(seconds=1)).total_seconds() == seconds
    long = ContainerView({"name": "m"}, restarts=restarts, state=exited(1, after=700))
    assert crash_backoff(long, NOW + timedelta(seconds=700)) == timedelta(0)


def test_log_lines_of_the_two_streams_do_not_mix(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log")
    writer.write("stdout", b"one ")
    writer.write("stderr", b"error\n")
    writer.write("stdout", b"line\n" + b"x" * (LINE_LIMIT + 1))
    writer.write("stderr", b"rest")
    writer.close()
    assert (tmp_path / "log").read_bytes() == b"error\none line\n" + b"x" * (LINE_LIMIT + 1) + b"rest"
    offsets = [int(line.split()[0]) for line in times_of(tmp_path / "log").read_text().splitlines()]
    assert offsets == [0, 6, 15 + LINE_LIMIT + 1]


def test_a_prepared_run_that_is_cancelled_never_starts(tmp_path: Path) -> None:
    run = PodFolder(tmp_path / "uid").run("main", 0)
    run.prepare({"argv": ["touch", str(tmp_path / "started")], "env": {}})
    assert run.state().phase == "prepared"
    assert run.cancel()
    assert run.spawn().wait() == 0
    assert run.state().exit_code == 137
    assert not (tmp_path / "started").exists()


def test_a_recycled_pid_is_not_the_process_that_was_meant() -> None:
    own = ProcessId.of(1)
    assert own is not None
    assert own.alive
    assert not ProcessId(own.pid, own.start + 1, own.boot).alive
    assert not ProcessId(own.pid, own.start, "an earlier boot").alive
    assert ProcessId.from_json(own.to_json()) == own
    assert ProcessId.from_json({"pid": 1}) is None
