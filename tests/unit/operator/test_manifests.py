"""What is made in the cluster, against files: `SELM_UPDATE_GOLDEN=1` writes them anew, the diff is read by a person."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from selm_operator.kube import Json
from selm_operator.manifests.job import build_job
from selm_operator.manifests.names import job_name, service_name
from selm_operator.manifests.service import build_service
from selm_operator.phase_config import Attempt
from selm_operator.settings import Settings
from selm_operator.snapshot import read_run
from selm_runtime.contract import Phase, PhaseConfig
from support.run_builder import RunBuilder, make_run

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = Settings(runtime_image="runtime:1", preparation_resources={"requests": {"cpu": "1"}})

PATCHES = [
    {
        "phase": "All",
        "labels": {"team": "a", "tier": "all", "selm.dev/phase": "Mine"},
        "annotations": {"note": "all"},
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "LEVEL", "value": "all"}],
        "volumes": [{"name": "selm-cache", "persistentVolumeClaim": {"claimName": "cache"}}],
        "volumeMounts": [{"name": "selm-cache", "mountPath": "/models"}],
    },
    {
        "phase": "Training",
        "labels": {"tier": "training"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "env": [
            {"name": "LEVEL", "value": "training"},
            {"name": "AWS_ACCESS_KEY_ID", "value": "mine"},
            {"name": "NCCL_DEBUG", "value": "INFO"},
        ],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "10Gi"}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/dev/shm"}],
    },
]


def full_run() -> RunBuilder:
    """Every field that reaches a manifest."""
    run = make_run("zephyr").with_iterations(2).with_shards(8, 2).with_nodes(2, gpus=8)
    run.with_spec(
        image="registry.example.org/selm-runtime:0.1.0",
        podTemplates=PATCHES,
        scheduling={"queueName": "team-a", "priorityClassName": "research"},
        serviceAccountName="trainer",
        imagePullSecrets=[{"name": "pull"}],
        model={"tokenSecretRef": {"name": "hub", "key": "token"}},
        artifacts={"endpoint": "https://s3.example.org", "caBundleConfigMapRef": {"name": "ca"}},
        generation={"resources": {"limits": {"nvidia.com/gpu": 2}}, "tensorParallelSize": 2},
    )
    return run


def job_of(run: RunBuilder, iteration: int, phase: Phase, number: int = 1, *, settings: Settings = SETTINGS) -> Json:
    view = read_run(run.obj())
    assert view.spec is not None, view.spec_errors
    image = view.spec.image or "runtime:1"
    return build_job(view, view.spec, view.status, Attempt(iteration, phase, number), image, settings)


CASES = {
    "small-preparation": (make_run(), 0, Phase.PREPARATION, 1),
    "small-evaluation": (make_run(), 1, Phase.EVALUATION, 1),
    "full-preparation": (full_run(), 0, Phase.PREPARATION, 1),
    "full-generation": (full_run(), 1, Phase.GENERATION, 1),
    "full-scoring": (full_run(), 2, Phase.SCORING, 3),
    "full-training": (full_run(), 2, Phase.TRAINING, 3),
}


def unfolded(job: Json) -> Json:
    """The phase config as an object, so that a diff can be read."""
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    for variable in env:
        if variable["name"] == "SELM_PHASE_CONFIG":
            variable["value"] = json.loads(variable["value"])
    return job


@pytest.mark.parametrize("name", CASES)
def test_a_job_is_as_its_file_says(name: str) -> None:
    compare(name, unfolded(job_of(*CASES[name])))


def test_the_service_is_as_its_file_says() -> None:
    view = read_run(full_run().obj())
    compare("service", build_service(view, service_name(view.name)))


def compare(name: str, made: Json) -> None:
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("SELM_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(made, sort_keys=False, width=120))
    assert made == yaml.safe_load(path.read_text())


def container(job: Json) -> Json:
    found: Json = job["spec"]["template"]["spec"]["containers"][0]
    return found


def env_of(job: Json) -> dict[str, Any]:
    return {variable["name"]: variable for variable in container(job)["env"]}


def test_the_phases_patch_wins_over_all_and_the_operator_over_both() -> None:
    job = job_of(full_run(), 1, Phase.TRAINING)
    env = env_of(job)
    assert env["LEVEL"]["value"] == "training"
    assert env["OMP_NUM_THREADS"]["value"] == "1"
    assert env["AWS_ACCESS_KEY_ID"]["valueFrom"]["secretKeyRef"]["name"] == "s3"
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert (labels["tier"], labels["team"], labels["selm.dev/phase"]) == ("training", "a", "Training")
    mounts = {mount["mountPath"]: mount["name"] for mount in container(job)["volumeMounts"]}
    assert mounts["/dev/shm"] == "selm-shm"
    assert [t["key"] for t in job["spec"]["template"]["spec"]["tolerations"]] == ["gpu", "spot"]


def test_the_patch_of_another_phase_does_not_apply() -> None:
    assert "NCCL_DEBUG" not in env_of(job_of(full_run(), 1, Phase.GENERATION))


def test_a_volume_named_like_the_cache_takes_its_place() -> None:
    volumes = job_of(full_run(), 1, Phase.GENERATION)["spec"]["template"]["spec"]["volumes"]
    assert [v for v in volumes if v["name"] == "selm-cache"] == [PATCHES[0]["volumes"][0]]  # type: ignore[index]


def test_the_queue_is_named_on_the_job_alone() -> None:
    job = job_of(full_run(), 1, Phase.GENERATION)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]
    assert "suspend" not in job["spec"]


def test_the_hubs_token_reaches_preparation_alone() -> None:
    phases = [(0, Phase.PREPARATION), (1, Phase.GENERATION), (1, Phase.TRAINING), (1, Phase.EVALUATION)]
    assert [p.value for t, p in phases if "HF_TOKEN" in env_of(job_of(full_run(), t, p))] == ["Preparation"]


def test_a_selection_of_rows_gives_preparation_what_the_base_model_takes() -> None:
    limits = {"limits": {"nvidia.com/gpu": 1}}

    def resources(selection: Json | None, phase: Phase) -> Json:
        run = make_run() if selection is None else make_run().with_spec(data={"selection": selection})
        given: Json = job_of(run, 0, phase)["spec"]["template"]["spec"]["containers"][0].get("resources", {})
        return given

    assert resources({"keep": 0.5, "resources": limits}, Phase.PREPARATION) == limits
    assert resources({"keep": 0.5}, Phase.PREPARATION) == SETTINGS.preparation_resources
    assert resources(None, Phase.PREPARATION) == SETTINGS.preparation_resources
    assert resources({"keep": 0.5, "resources": limits}, Phase.EVALUATION) == resources(None, Phase.EVALUATION)


def test_the_keys_of_trackers_reach_training_alone() -> None:
    trackers = {
        "wandb": {"project": "p", "apiKeySecretRef": {"name": "wandb", "key": "api-key"}},
        "mlflow": {"trackingURI": "http://mlflow:5000", "experiment": "e", "tokenSecretRef": {"name": "mlflow"}},
    }
    run = make_run().with_spec(training={"reportTo": trackers})
    env = env_of(job_of(run, 1, Phase.TRAINING))
    assert env["WANDB_API_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "wandb", "key": "api-key"}
    assert env["MLFLOW_TRACKING_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "mlflow", "key": "token"}
    for phase in (Phase.GENERATION, Phase.SCORING, Phase.EVALUATION):
        assert not {"WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN"} & set(env_of(job_of(run, 1, phase)))


def test_the_scale_of_waits_is_handed_on_to_pods_where_it_is_set() -> None:
    assert "SELM_TIME_SCALE" not in env_of(job_of(make_run(), 1, Phase.GENERATION))
    scaled = job_of(make_run(), 1, Phase.GENERATION, settings=replace(SETTINGS, time_scale=0.01))
    assert env_of(scaled)["SELM_TIME_SCALE"]["value"] == "0.01"


def test_training_is_all_or_nothing_and_shards_fail_each_by_itself() -> None:
    training, scoring = (job_of(full_run(), 1, p)["spec"] for p in (Phase.TRAINING, Phase.SCORING))
    assert (training["backoffLimit"], training.get("backoffLimitPerIndex")) == (0, None)
    assert (scoring.get("backoffLimit"), scoring["backoffLimitPerIndex"]) == (None, 0)
    actions = [[rule["action"] for rule in spec["podFailurePolicy"]["rules"]] for spec in (training, scoring)]
    assert actions == [["FailJob", "FailJob"], ["Ignore", "FailJob"]]
    values = training["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"]
    assert values == [64]


def test_no_run_ever_lets_its_jobs_be_collected_by_time() -> None:
    for name in CASES:
        spec = job_of(*CASES[name])["spec"]
        assert "ttlSecondsAfterFinished" not in spec
        assert spec["podReplacementPolicy"] == "Failed"


def test_names_stay_within_a_host_names_limit() -> None:
    longest = job_name("r" * 40, 50, Phase.TRAINING, 99_999)
    assert len(f"{longest}-1023") <= 63
    assert len(service_name("r" * 40)) <= 63


@pytest.mark.parametrize("name", CASES)
def test_the_phase_config_in_the_job_is_one_that_the_runtime_reads(name: str) -> None:
    run, iteration, phase, number = CASES[name]
    config = PhaseConfig.model_validate_json(
        env_of(job_of(run, iteration, phase, number))["SELM_PHASE_CONFIG"]["value"]
    )
    assert (config.iteration, config.phase, config.attempt) == (iteration, phase, number)


def test_suites_keys_reach_the_phases_that_ask_their_judges() -> None:
    judge = {"endpoint": "http://judge", "model": "m", "apiKeySecretRef": {"name": "keys", "key": "openai"}}
    run = make_run("r").with_spec(
        evaluation={
            "alpacaEval": {"uri": "s3://b/alpaca.json", "judge": judge},
            "mtBench": {"uri": "s3://b/mt.jsonl", "judge": judge},
        }
    )
    for phase in Phase:
        env = env_of(job_of(run, 1, phase))
        found = {name: entry["valueFrom"] for name, entry in env.items() if name.startswith("SELM_SUITE_KEY")}
        asks = phase in (Phase.PREPARATION, Phase.EVALUATION)
        secret = {"secretKeyRef": {"name": "keys", "key": "openai"}}
        names = ("SELM_SUITE_KEY_ALPACAEVAL", "SELM_SUITE_KEY_MTBENCH")
        assert found == (dict.fromkeys(names, secret) if asks else {})


def test_judges_keys_reach_the_phases_that_ask_them() -> None:
    judge = {"endpoint": "http://judge", "model": "m"}
    keyed = {**judge, "apiKeySecretRef": {"name": "keys", "key": "openai"}}
    plain = {**judge, "apiKeySecretRef": {"name": "other"}}
    run = make_run("r").with_spec(
        scoring={
            "scorers": [
                {"name": "gpt-5", "judge": keyed},
                {"name": "local", "judge": plain},
                {"name": "open", "judge": judge},
                {"name": "r", "rules": [{"type": "Length", "target": 3}]},
            ]
        },
        evaluation={"selectBy": {"metric": "WinRate"}},
    )
    for phase in Phase:
        env = {
            entry["name"]: entry
            for entry in env_of(job_of(run, 1, phase)).values()
            if entry["name"].startswith("SELM_JUDGE_KEY")
        }
        if phase in (Phase.PREPARATION, Phase.SCORING, Phase.EVALUATION):
            assert {name: entry["valueFrom"]["secretKeyRef"] for name, entry in env.items()} == {
                "SELM_JUDGE_KEY_GPT_5": {"name": "keys", "key": "openai"},
                "SELM_JUDGE_KEY_LOCAL": {"name": "other", "key": "token"},
            }
        else:
            assert env == {}
