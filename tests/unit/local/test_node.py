"""The process node, with real processes: what a pod sees, how it ends, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from selm_local.apiserver.resources import CONFIG_MAPS, EVENTS, JOBS, SECRETS, SERVICES
from selm_local.node.isolation import detect
from selm_local.node.runs import ENV_RUN, PodFolder
from selm_local.node.shutdown import end_pods
from selm_local.processes import with_environment
from support.local_cluster import LocalCluster, local_cluster, make_pod, terminated

needs_mounts = pytest.mark.skipif(detect()[0] == "none", reason="this machine permits no mount namespaces")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(tmp_path / "state") as made:
        yield made


def processes_of(pod: dict[str, object], restart: int = 0) -> list[int]:
    return with_environment(ENV_RUN, f"{pod['metadata']['uid']}/main/{restart}")  # type: ignore[index]


@pytest.mark.parametrize(
    ("sentence", "script", "phase", "code", "reason"),
    [
        ("it ends well", "true", "Succeeded", 0, "Completed"),
        ("it fails", "exit 64", "Failed", 64, "Error"),
        ("it is killed by a signal (two dollars stand for one)", "kill -KILL $$$$", "Failed", 137, "Error"),
        ("its command does not exist", None, "Failed", 128, "StartError"),
    ],
)
async def test_how_a_container_ends(
    cluster: LocalCluster, sentence: str, script: str | None, phase: str, code: int, reason: str
) -> None:
    pod = make_pod("p", script or "")
    if script is None:
        pod["spec"]["containers"][0]["command"] = ["no-such-program"]
    ended = await cluster.run(pod)
    assert ended["status"]["phase"] == phase, sentence
    assert (terminated(ended)["exitCode"], terminated(ended)["reason"]) == (code, reason)
    if script is None:
        assert 'exec: "no-such-program": executable file not found' in terminated(ended)["message"]


@needs_mounts
async def test_a_pod_sees_its_volumes_names_and_environment(cluster: LocalCluster, tmp_path: Path) -> None:
    registry = cluster.registry
    await registry.create(
        SECRETS,
        "default",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"KEY": "k1", "OTHER": "k2"}},
    )
    await registry.create(
        CONFIG_MAPS,
        "default",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a.txt": "text"}},
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("from the machine")
    script = """
        set -e
        test "$(cat /etc/selm-test/KEY)" = k1
        ! test -e /etc/selm-test/OTHER
        ! touch /etc/selm-test/new 2> /dev/null
        test "$(cat /selm-test/deep/config.txt)" = text
        test "$(cat /selm-test/host/file)" = "from the machine"
        echo kept > /selm-test/cache/x; cat /selm-test/cache/x
        test "$(hostname)" = my-host
        test "$(cat /selm-test/labels)" = 'team="a"'
        test "$PLAIN/$FROM/$P_OTHER/$NAME/$CPU" = "k1-x/k1/k2/p/2"
        test "$AWS_ENDPOINT_URL" = http://store
        test -z "$AWS_PROFILE"
        echo all good > /dev/termination-log
    """
    mounts = [
        {"name": "secret", "mountPath": "/etc/selm-test", "readOnly": True},
        {"name": "config", "mountPath": "/selm-test/deep"},
        {"name": "host", "mountPath": "/selm-test/host"},
        {"name": "cache", "mountPath": "/selm-test/cache", "subPath": "part"},
        {"name": "info", "mountPath": "/selm-test/labels", "subPath": "labels"},
    ]
    env = [
        {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s", "key": "KEY"}}},
        {"name": "PLAIN", "value": "$(FROM)-x"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
    ]
    pod = make_pod(
        "p",
        script,
        metadata={"labels": {"team": "a"}},
        hostname="my-host",
        container={
            "env": env,
            "envFrom": [{"prefix": "P_", "secretRef": {"name": "s"}}],
            "volumeMounts": mounts,
            "resources": {"limits": {"cpu": "1500m"}},
        },
        volumes=[
            {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "KEY", "path": "KEY"}]}},
            {"name": "config", "configMap": {"name": "c", "items": [{"key": "a.txt", "path": "config.txt"}]}},
            {"name": "host", "hostPath": {"path": str(tmp_path / "data"), "type": "Directory"}},
            {"name": "cache", "emptyDir": {"medium": "Memory"}},
            {
                "name": "info",
                "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]},
            },
        ],
    )
    ended = await cluster.run(pod)
    assert ended["status"]["phase"] == "Succeeded", cluster.log(ended)
    assert terminated(ended)["message"] == "all good\n"
    assert cluster.log(ended) == "kept\n"
    assert not Path("/selm-test").exists(), "the machine's own file system is untouched"
    assert not Path("/etc/selm-test").exists()


@needs_mounts
async def test_mounts_may_cover_the_folders_that_others_come_from(cluster: LocalCluster) -> None:
    """The state folder of this test lies below /tmp, memory volumes below /dev/shm: both are mounted over."""
    script = """
        set -e
        echo a > /tmp/x; echo b > /dev/shm/x; echo c > /selm-test/memory/x; echo d > /tmp/inner/x
        test "$(ls /tmp)" = "$(printf 'inner\\nx')"
        test "$(ls /dev/shm /selm-test/memory)" = "$(printf '/dev/shm:\\nx\\n\\n/selm-test/memory:\\nx')"
        pwd
    """
    names = {"tmp": "/tmp", "shm": "/dev/shm", "memory": "/selm-test/memory", "inner": "/tmp/inner"}
    volumes = [{"name": n, "emptyDir": {"medium": "Memory"} if n in ("shm", "memory") else {}} for n in names]
    mounts = [{"name": name, "mountPath": path} for name, path in names.items()]
    ended = await cluster.run(make_pod("p", script, volumes=volumes, container={"volumeMounts": mounts}))
    assert ended["status"]["phase"] == "Succeeded", cluster.log(ended)
    assert cluster.log(ended) == "/\n"


@needs_mounts
async def test_two_pods_of_an_indexed_job_reach_each_other_by_the_service_name(cluster: LocalCluster) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "train"},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"job": "train"},
            "ports": [{"port": 1}],
        },
    }
    await cluster.registry.create(SERVICES, "default", service)
    # A pod that has ended loses its name: each waits until the other has found it.
    met = cluster.state.root / "met"
    met.mkdir()
    script = (
        "until getent hosts train-$((1 - JOB_COMPLETION_INDEX)).train; do sleep 0.05; done; "
        f"touch {met}/$JOB_COMPLETION_INDEX; until test -e {met}/0 -a -e {met}/1; do sleep 0.05; done"
    )
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train"},
        "spec": {
            "completions": 2,
            "parallelism": 2,
            "completionMode": "Indexed",
            "template": {
                "metadata": {"labels": {"job": "train"}},
                "spec": {
                    "restartPolicy": "Never",
                    "subdomain": "train",
                    "containers": [{"name": "main", "image": "i", "command": ["/bin/sh", "-c", script]}],
                },
            },
        },
    }
    await cluster.create_job(job)
    await cluster.until("train", lambda one: one["status"].get("succeeded") == 2, JOBS)


async def test_a_missing_secret_holds_a_container_back_until_it_is_there(cluster: LocalCluster) -> None:
    env = [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
    await cluster.create(make_pod("p", 'test "$K" = v', container={"env": env}))
    waiting = await cluster.until(
        "p", lambda pod: (pod["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("waiting") is not None
    )
    state = waiting["status"]["containerStatuses"][0]["state"]["waiting"]
    assert state == {"reason": "CreateContainerConfigError", "message": 'secret "late" not found'}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"k": "v"}}
    await cluster.registry.create(SECRETS, "default", secret)
    assert (await cluster.done("p"))["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"command": None}, "CreateContainerError", "has no command"),
        (
            {"readinessProbe": {"grpc": {"port": 1}}},
            "CreateContainerError",
            "containers[main].readinessProbe.grpc",
        ),
    ],
)
async def test_what_the_node_cannot_do_it_says(
    cluster: LocalCluster, change: dict[str, object], reason: str, words: str
) -> None:
    pod = make_pod("p", "true")
    pod["spec"]["containers"][0] |= change
    pod["spec"]["containers"][0] = {k: v for k, v in pod["spec"]["containers"][0].items() if v is not None}
    await cluster.create(pod)
    found = await cluster.until(
        "p",
        lambda one: (
            any("waiting" in s["state"] for s in one["status"].get("containerStatuses", []))
            and one["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        ),
    )
    assert words in found["status"]["containerStatuses"][0]["state"]["waiting"]["message"]


async def test_a_missing_volume_is_an_event_and_the_pod_waits(cluster: LocalCluster) -> None:
    await cluster.create(make_pod("p", "true", volumes=[{"name": "v", "secret": {"secretName": "none"}}]))
    await cluster.until("p", lambda pod: bool(pod["status"].get("containerStatuses")))
    events, _ = await cluster.registry.list(EVENTS, "default")
    failed = [one for one in events if one["reason"] == "FailedMount"]
    assert [one["message"] for one in failed] == ['MountVolume.SetUp failed for volume "v" : secret "none" not found']


async def test_the_fallback_to_logs_keeps_the_last_words(cluster: LocalCluster) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    ended = await cluster.run(make_pod("p", "echo out; echo last words >&2; exit 1", container=policy))
    assert terminated(ended)["message"].endswith("last words\n")


async def test_deletion_gives_time_to_say_farewell(cluster: LocalCluster) -> None:
    script = 'trap "echo caught > $OUT; exit 75" TERM; echo ready; sleep 60 & wait'
    out = cluster.state.root / "farewell"
    pod = make_pod(
        "p", script, terminationGracePeriodSeconds=20, container={"env": [{"name": "OUT", "value": str(out)}]}
    )
    await cluster.create(pod)
    running = await cluster.running("p")
    while "ready" not in cluster.log(running):
        await asyncio.sleep(0.02)
    await cluster.delete("p")
    await cluster.gone("p")
    assert out.read_text() == "caught\n"
    assert processes_of(running) == []


async def test_who_does_not_listen_is_killed_after_the_grace_with_all_descendants(cluster: LocalCluster) -> None:
    script = 'trap "" TERM; setsid sleep 600 & (setsid sleep 601 &) ; while true; do sleep 0.1; done'
    running = None
    await cluster.create(make_pod("p", script, terminationGracePeriodSeconds=1))
    running = await cluster.running("p")
    while len(processes_of(running)) < 3:
        await asyncio.sleep(0.02)
    await cluster.delete("p")
    await cluster.gone("p")
    assert processes_of(running) == []
    while any(cluster.state.pods.iterdir()):
        await asyncio.sleep(0.02)


async def test_a_forced_deletion_leaves_no_process(cluster: LocalCluster) -> None:
    await cluster.create(make_pod("p", 'trap "" TERM; sleep 600'))
    running = await cluster.running("p")
    await cluster.delete("p", grace=0)
    for _ in range(500):
        if not processes_of(running) and not any(cluster.state.pods.iterdir()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("something is left")


async def test_what_the_first_process_leaves_behind_ends_with_it(cluster: LocalCluster) -> None:
    ended = await cluster.run(make_pod("p", "setsid sleep 600 & exit 0"))
    assert processes_of(ended) == []


async def test_restarts_follow_the_policy_and_back_off(cluster: LocalCluster) -> None:
    flag = cluster.state.root / "flag"
    script = f"test -e {flag} || {{ touch {flag}; exit 1; }}; sleep 0.1"
    await cluster.create(make_pod("p", script, restartPolicy="OnFailure"))
    ended = await cluster.done("p")
    status = ended["status"]["containerStatuses"][0]
    assert (ended["status"]["phase"], status["restartCount"]) == ("Succeeded", 1)
    assert status["lastState"]["terminated"]["exitCode"] == 1
    await cluster.create(make_pod("crash", "exit 1", restartPolicy="Always"))
    waiting = await cluster.until(
        "crash",
        lambda one: (
            "waiting" in (one["status"].get("containerStatuses") or [{"state": {}}])[0]["state"]
            and one["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        ),
    )
    assert waiting["status"]["phase"] == "Running"


async def test_init_containers_run_in_order_before_the_others(cluster: LocalCluster) -> None:
    log = cluster.state.root / "order"
    init = [{"name": n, "image": "i", "command": ["/bin/sh", "-c", f"echo {n} >> {log}"]} for n in ("one", "two")]
    ended = await cluster.run(make_pod("p", f"echo main >> {log}", initContainers=init))
    assert ended["status"]["phase"] == "Succeeded"
    assert log.read_text().split() == ["one", "two", "main"]
    broken = [{"name": "one", "image": "i", "command": ["/bin/false"]}]
    failed = await cluster.run(make_pod("q", "true", initContainers=broken))
    assert failed["status"]["phase"] == "Failed"
    assert "absent" not in str(failed["status"]["containerStatuses"][0]["state"])


async def test_memory_above_the_limit_ends_in_oomkilled(cluster: LocalCluster) -> None:
    code = "x = bytearray(200 << 20)\nimport time\ntime.sleep(60)"
    pod = make_pod("p", "", container={"resources": {"limits": {"memory": "64Mi"}}})
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", code]
    ended = await cluster.run(pod)
    assert (terminated(ended)["exitCode"], terminated(ended)["reason"]) == (137, "OOMKilled")


async def test_the_pods_own_deadline_fails_it(cluster: LocalCluster) -> None:
    ended = await cluster.run(make_pod("p", "sleep 60", activeDeadlineSeconds=1))
    assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Failed", "DeadlineExceeded")


async def test_a_restarted_agent_takes_running_pods_over(cluster: LocalCluster) -> None:
    go = cluster.state.root / "go"
    script = f"echo one; while ! test -e {go}; do sleep 0.05; done; echo two; exit 7"
    await cluster.create(make_pod("p", script))
    await cluster.create(make_pod("short", "sleep 0.5; exit 3"))
    running = await cluster.running("p")
    await cluster.running("short")
    before = processes_of(running)
    await cluster.stop_node()
    await asyncio.sleep(0.8)
    cluster.start_node()
    missed = await cluster.done("short")
    assert terminated(missed)["exitCode"] == 3, "what ended while no agent ran is not lost"
    assert set(before) & set(processes_of(running)), "the same processes run on"
    go.touch()
    ended = await cluster.done("p")
    assert terminated(ended)["exitCode"] == 7
    assert cluster.log(ended) == "one\ntwo\n"


async def test_what_belongs_to_a_pod_that_vanished_meanwhile_is_ended(cluster: LocalCluster) -> None:
    await cluster.create(make_pod("p", 'trap "" TERM; sleep 600'))
    running = await cluster.running("p")
    await cluster.stop_node()
    await cluster.delete("p", grace=0)
    assert processes_of(running)
    cluster.start_node()
    for _ in range(500):
        if not processes_of(running) and not any(cluster.state.pods.iterdir()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("something is left")


async def test_a_killed_supervisor_takes_its_container_along(cluster: LocalCluster) -> None:
    await cluster.create(make_pod("p", "setsid sleep 600 & sleep 600"))
    running = await cluster.running("p")
    run = PodFolder(cluster.state.pods / running["metadata"]["uid"]).run("main", 0)
    supervisor = run.supervisor()
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    ended = await cluster.done("p")
    assert terminated(ended)["reason"] == "ContainerStatusUnknown"
    assert processes_of(ended) == []


async def test_a_shut_down_node_fails_its_pods_as_disrupted(cluster: LocalCluster) -> None:
    await cluster.create(make_pod("p", 'trap "exit 75" TERM; sleep 600 & wait'))
    await cluster.running("p")
    await cluster.stop_node()
    await asyncio.to_thread(end_pods, cluster.state)
    cluster.start_node()
    ended = await cluster.done("p")
    assert (ended["status"]["reason"], terminated(ended)["exitCode"]) == ("Terminated", 75)
    assert ("DisruptionTarget", "True") in [(c["type"], c["status"]) for c in ended["status"]["conditions"]]


async def test_gpus_are_given_out_and_come_back(tmp_path: Path) -> None:
    limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}}}
    async with local_cluster(tmp_path / "state", gpus=2) as cluster:
        script = "echo got:$CUDA_VISIBLE_DEVICES; sleep 600"
        for name in ("a", "b", "c"):
            await cluster.create(make_pod(name, script, container=limits))
        a, b = await cluster.running("a"), await cluster.running("b")
        waiting = await cluster.until("c", lambda one: bool(one["status"].get("conditions")))
        unscheduled = waiting["status"]["conditions"][0]
        assert (unscheduled["type"], unscheduled["status"], unscheduled["reason"]) == (
            "PodScheduled",
            "False",
            "Unschedulable",
        )
        assert unscheduled["message"].startswith("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        while not ("got:" in cluster.log(a) and "got:" in cluster.log(b)):
            await asyncio.sleep(0.02)
        freed = cluster.log(a)
        assert {freed, cluster.log(b)} == {"got:0\n", "got:1\n"}
        await cluster.delete("a", grace=0)
        c = await cluster.running("c")
        while "got:" not in cluster.log(c):
            await asyncio.sleep(0.02)
        assert cluster.log(c) == freed


async def test_without_mount_namespaces_paths_and_names_are_replaced(tmp_path: Path) -> None:
    async with local_cluster(tmp_path / "state", isolation="none") as cluster:
        script = 'echo x > "$CACHE/y" && cat /selm-none/cache/y && echo "$PEER" && echo bye > "$SELM_TERMINATION_LOG"'
        pod = make_pod(
            "p",
            script,
            subdomain="svc",
            container={
                "env": [{"name": "CACHE", "value": "/selm-none/cache"}, {"name": "PEER", "value": "p-0.svc:29500"}],
                "volumeMounts": [{"name": "v", "mountPath": "/selm-none/cache"}],
            },
            volumes=[{"name": "v", "emptyDir": {}}],
        )
        ended = await cluster.run(pod)
        assert ended["status"]["phase"] == "Succeeded", cluster.log(ended)
        assert cluster.log(ended) == "x\n127.0.0.1:29500\n"
        assert terminated(ended)["message"] == "bye\n"
