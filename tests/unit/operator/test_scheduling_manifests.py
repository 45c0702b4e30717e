"""What of a run's spec decides where and as whom its pods run: one table of fields, phases and what the Job has."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from selm_operator.kube import Json
from selm_operator.manifests.job import build_job
from selm_operator.phase_config import Attempt
from selm_operator.settings import Settings
from selm_operator.snapshot import gpus_of, read_run
from selm_runtime.contract import Phase
from support.pod_security import violations
from support.run_builder import RunBuilder, make_run

SETTINGS = Settings(runtime_image="runtime:1")
GPUS = {"limits": {"nvidia.com/gpu": 4}}


def job_of(run: RunBuilder, phase: Phase, settings: Settings = SETTINGS) -> Json:
    view = read_run(run.obj())
    assert view.spec is not None, view.spec_errors
    iteration = 0 if phase is Phase.PREPARATION else 1
    return build_job(view, view.spec, view.status, Attempt(iteration, phase, 1), "runtime:1", settings)


def pod_of(job: Json) -> Json:
    spec: Json = job["spec"]["template"]["spec"]
    return spec


def container_of(job: Json) -> Json:
    container: Json = pod_of(job)["containers"][0]
    return container


def mounts(job: Json) -> dict[str, str]:
    return {m["mountPath"]: m["name"] for m in container_of(job)["volumeMounts"]}


def env(job: Json) -> dict[str, Any]:
    return {e["name"]: e.get("value") for e in container_of(job)["env"]}


@dataclass(frozen=True)
class Row:
    spec: dict[str, Any]
    phase: Phase
    look: Callable[[Json], Any]
    expected: Any


TEMPLATES = [
    {"phase": "All", "annotations": {"who": "all", "a": "1"}, "nodeSelector": {"pool": "any"}, "labels": {"t": "all"}},
    {
        "phase": "Training",
        "annotations": {"who": "training"},
        "tolerations": [{"key": "spot"}],
        "labels": {"t": "train"},
    },
]
WITH_QUEUE = {"scheduling": {"queueName": "team-a", "priorityClassName": "research"}}

ROWS = {
    "the queue's label is on the Job": Row(
        WITH_QUEUE, Phase.SCORING, lambda j: j["metadata"]["labels"].get("kueue.x-k8s.io/queue-name"), "team-a"
    ),
    "and not on its pods": Row(
        WITH_QUEUE,
        Phase.SCORING,
        lambda j: "kueue.x-k8s.io/queue-name" in j["spec"]["template"]["metadata"]["labels"],
        False,
    ),
    "whether it is suspended is the queue's business": Row(
        WITH_QUEUE, Phase.TRAINING, lambda j: "suspend" in j["spec"], False
    ),
    "the priority class": Row(WITH_QUEUE, Phase.GENERATION, lambda j: pod_of(j)["priorityClassName"], "research"),
    "the image": Row({}, Phase.GENERATION, lambda j: container_of(j)["image"], "runtime:1"),
    "the pull secrets": Row(
        {"imagePullSecrets": [{"name": "pull"}]},
        Phase.TRAINING,
        lambda j: pod_of(j)["imagePullSecrets"],
        [{"name": "pull"}],
    ),
    "the service account, which may carry a cloud's identity": Row(
        {"serviceAccountName": "irsa"}, Phase.SCORING, lambda j: pod_of(j)["serviceAccountName"], "irsa"
    ),
    "its token is not mounted for the API; a cloud's webhook mounts its own": Row(
        {}, Phase.SCORING, lambda j: pod_of(j)["automountServiceAccountToken"], False
    ),
    "templates: All reaches every phase": Row(
        {"podTemplates": TEMPLATES}, Phase.SCORING, lambda j: pod_of(j)["nodeSelector"], {"pool": "any"}
    ),
    "templates: the phase's own wins, key by key": Row(
        {"podTemplates": TEMPLATES},
        Phase.TRAINING,
        lambda j: j["spec"]["template"]["metadata"]["annotations"],
        {"who": "training", "a": "1"},
    ),
    "templates: another phase's do not": Row(
        {"podTemplates": TEMPLATES}, Phase.SCORING, lambda j: pod_of(j).get("tolerations"), None
    ),
    "templates: labels, and the operator's own win": Row(
        {"podTemplates": [{"phase": "All", "labels": {"selm.dev/run": "mine", "t": "x"}}]},
        Phase.SCORING,
        lambda j: [j["spec"]["template"]["metadata"]["labels"][k] for k in ("selm.dev/run", "t")],
        ["tiny", "x"],
    ),
    "GPUs are the phase's": Row(
        {"training": {"resources": GPUS}}, Phase.TRAINING, lambda j: gpus_of(container_of(j)["resources"]), 4
    ),
    "GPUs of one phase are none of another": Row(
        {"training": {"resources": GPUS}}, Phase.SCORING, lambda j: "resources" in container_of(j), False
    ),
    "Preparation asks for no GPU": Row(
        {"training": {"resources": GPUS}}, Phase.PREPARATION, lambda j: gpus_of(container_of(j)["resources"]), 0
    ),
    "/dev/shm in Training, always": Row({}, Phase.TRAINING, lambda j: mounts(j).get("/dev/shm"), "selm-shm"),
    "/dev/shm where an engine spans GPUs": Row(
        {"generation": {"tensorParallelSize": 2}}, Phase.GENERATION, lambda j: mounts(j).get("/dev/shm"), "selm-shm"
    ),
    "/dev/shm in Evaluation, whose engine does too": Row(
        {"generation": {"tensorParallelSize": 2}}, Phase.EVALUATION, lambda j: mounts(j).get("/dev/shm"), "selm-shm"
    ),
    "/dev/shm in Scoring on several GPUs": Row(
        {"scoring": {"resources": GPUS}}, Phase.SCORING, lambda j: mounts(j).get("/dev/shm"), "selm-shm"
    ),
    "no /dev/shm in Scoring on one": Row(
        {"scoring": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
        Phase.SCORING,
        lambda j: mounts(j).get("/dev/shm"),
        None,
    ),
    "its size counts against the pod's memory alone": Row(
        {},
        Phase.TRAINING,
        lambda j: [v["emptyDir"] for v in pod_of(j)["volumes"] if v["name"] == "selm-shm"],
        [{"medium": "Memory"}],
    ),
    "what libraries write has its places": Row(
        {},
        Phase.GENERATION,
        lambda j: [mounts(j).get(p) for p in ("/tmp", "/home/selm", "/var/cache/selm")],
        ["selm-tmp", "selm-home", "selm-cache"],
    ),
    "the home is said": Row(
        {}, Phase.GENERATION, lambda j: [env(j)[n] for n in ("HOME", "USER")], ["/home/selm", "selm"]
    ),
    "the home may be another": Row(
        {"podTemplates": [{"phase": "All", "env": [{"name": "HOME", "value": "/scratch"}]}]},
        Phase.GENERATION,
        lambda j: env(j)["HOME"],
        "/scratch",
    ),
    "a template's volume takes the place of /tmp's": Row(
        {"podTemplates": [{"phase": "All", "volumes": [{"name": "selm-tmp", "hostPath": {"path": "/mnt/nvme"}}]}]},
        Phase.GENERATION,
        lambda j: [v for v in pod_of(j)["volumes"] if v["name"] == "selm-tmp"],
        [{"name": "selm-tmp", "hostPath": {"path": "/mnt/nvme"}}],
    ),
    "claims can be written to": Row({}, Phase.GENERATION, lambda j: pod_of(j)["securityContext"]["fsGroup"], 10001),
    "a pod's grace is Training's own": Row(
        {"training": {"terminationGracePeriodSeconds": 300}},
        Phase.TRAINING,
        lambda j: pod_of(j)["terminationGracePeriodSeconds"],
        300,
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_the_job_has(row: Row) -> None:
    assert row.look(job_of(make_run().with_spec(**row.spec), row.phase)) == row.expected


@pytest.mark.parametrize("phase", Phase)
def test_every_pod_is_admitted_at_the_restricted_level(phase: Phase) -> None:
    run = make_run().with_nodes(2, gpus=8).with_spec(artifacts={"caBundleConfigMapRef": {"name": "ca"}})
    pod = pod_of(job_of(run, phase))
    assert violations(pod) == []
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert "runAsUser" not in pod["securityContext"], "the image's own numeric user is checked by runAsNonRoot"


SPOILED: dict[str, Callable[[Json], object]] = {
    "allowPrivilegeEscalation": lambda p: p["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    "capabilities": lambda p: p["containers"][0]["securityContext"].pop("capabilities"),
    "runAsNonRoot": lambda p: p["securityContext"].pop("runAsNonRoot"),
    "seccompProfile": lambda p: p["securityContext"].pop("seccompProfile"),
    "hostPath": lambda p: p["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "hostNetwork": lambda p: p.update(hostNetwork=True),
    "runAsUser 0": lambda p: p["securityContext"].update(runAsUser=0),
}


@pytest.mark.parametrize(("words", "spoil"), SPOILED.items(), ids=SPOILED.keys())
def test_the_checker_notices(words: str, spoil: Callable[[Json], object]) -> None:
    pod = copy.deepcopy(pod_of(job_of(make_run(), Phase.GENERATION)))
    spoil(pod)
    assert any(words in violation for violation in violations(pod))


def test_where_pods_share_the_machines_paths_nothing_is_hidden_from_them() -> None:
    job = job_of(make_run(), Phase.GENERATION, replace(SETTINGS, shared_paths=True))
    assert set(mounts(job)) == {"/var/cache/selm"}
    assert "HOME" not in env(job)


def test_without_a_group_the_namespaces_own_range_holds() -> None:
    assert "fsGroup" not in pod_of(job_of(make_run(), Phase.SCORING, replace(SETTINGS, fs_group=0)))["securityContext"]
