"""The loop: from `kubectl apply` to an aligned model, three iterations, on real parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

ITERATIONS = 3
ONLINE = ("Generation", "Scoring", "Training", "Evaluation")


@pytest.fixture(scope="module")
def run(lab: Lab, inputs: dict[str, str]) -> Json:
    """An offline warm start, then two online iterations: ZeRO-3 on two nodes, two shards, a reward model and rules."""
    spec: dict[str, Any] = {
        "iterations": ITERATIONS,
        "training": {"zeroStage": 3},
        "scoring": {
            "scorers": [
                {"name": "model", "weight": 0.5, "rewardModel": {"uri": inputs["reward"]}},
                {"name": "rules", "rules": [{"type": "Length", "target": 4}]},
            ],
            "shards": 2,
        },
        "evaluation": {"selectBy": {"metric": "MeanReward", "scorer": "rules"}},
        "schedule": [{"iteration": 1, "pairs": "Offline"}, {"iteration": 3, "learningRate": 5.0e-5}],
    }
    lab.apply(make_run("loop", inputs, **spec))
    return lab.succeeded("loop", seconds=1200)


def test_every_phase_is_committed_once_and_the_offline_iteration_skips_two(lab: Lab, run: Json) -> None:
    states = {
        (entry["iteration"], p["phase"]): p["state"] for entry in run["status"]["iterations"] for p in entry["phases"]
    }
    assert states[(0, "Preparation")] == states[(0, "Evaluation")] == "Succeeded"
    assert [states[(1, phase)] for phase in ONLINE] == ["Skipped", "Skipped", "Succeeded", "Succeeded"]
    for t in (2, 3):
        assert [states[(t, phase)] for phase in ONLINE] == ["Succeeded"] * 4
    assert all(
        p["attempts"] == 1 for e in run["status"]["iterations"] for p in e["phases"] if p["state"] == "Succeeded"
    )


def test_each_iteration_starts_from_the_model_of_the_one_before(lab: Lab, run: Json) -> None:
    weights = []
    for t in range(1, ITERATIONS + 1):
        manifest = lab.manifest(run, t, "Training")
        files = {f["name"]: f["sha256"] for f in manifest["files"]}
        assert "model/config.json" in files
        weights.append(files["model/model.safetensors"])
    assert len(set(weights)) == ITERATIONS, "an iteration did not change the policy"
    generated = [lab.manifest(run, t, "Generation") for t in (2, 3)]
    assert generated[0]["inputDigest"] != generated[1]["inputDigest"]


def test_the_status_tells_the_result(lab: Lab, run: Json) -> None:
    assert condition(run, "Accepted")["status"] == "True"
    assert condition(run, "Reconciling")["status"] == "False"
    assert condition(run, "Stalled")["status"] == "False"
    assert 0 <= run["status"]["bestIteration"] <= ITERATIONS
    assert run["status"]["modelURI"].startswith("s3://")
    for t in range(ITERATIONS + 1):
        metrics = {m["name"]: m["value"] for m in phase_status(run, t, "Evaluation")["metrics"]}
        assert {"meanReward", "meanRewardCI95", "preferenceAccuracy", "kl", "winRateBase"} <= metrics.keys()
    assert len(json.dumps(run["status"])) < 128 * 1024


def test_the_model_that_the_status_names_is_whole(lab: Lab, run: Json) -> None:
    prefix = run["status"]["modelURI"].split("/", 3)[3]
    names = {o["Key"].removeprefix(prefix + "/") for o in lab.objects(prefix)}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names


def test_checkpoints_are_gone_once_training_is_committed(lab: Lab, run: Json) -> None:
    keys = [o["Key"] for o in lab.objects(f"artifacts/{lab.namespace}/loop-{run['metadata']['uid']}")]
    assert keys
    assert not [key for key in keys if "/checkpoints/" in key]


def test_a_finished_run_is_left_alone_and_its_jobs_are_owned(lab: Lab, run: Json) -> None:
    jobs = lab.items("jobs", "-l", f"selm.dev/run-uid={run['metadata']['uid']}")
    assert {job["metadata"]["ownerReferences"][0]["uid"] for job in jobs} == {run["metadata"]["uid"]}
    assert lab.run("loop")["metadata"]["resourceVersion"] == run["metadata"]["resourceVersion"]


def test_kubectl_shows_the_run(lab: Lab, run: Json) -> None:
    table = lab.kubectl("get", "selm", "loop")
    assert table.split()[:6] == ["NAME", "SUCCEEDED", "REASON", "ITERATION", "OF", "PHASE"]
    assert "loop" in table
    described = lab.kubectl("describe", "selmrun", "loop")
    assert "Events:" in described
    lab.kubectl("wait", "--for=condition=Succeeded", "selmrun/loop", "--timeout=5s")


def test_the_same_spec_again_costs_no_engine_and_no_training(lab: Lab, run: Json, inputs: dict[str, str]) -> None:
    again = make_run("loop-again", inputs)
    again["spec"] = {**lab.run("loop")["spec"]}
    lab.apply(again)
    second = lab.succeeded("loop-again", seconds=300)
    for t in range(1, ITERATIONS + 1):
        first_model = lab.manifest(run, t, "Training")["contentDigest"]
        assert lab.manifest(second, t, "Training")["contentDigest"] == first_model
    for t in (2, 3):
        assert not [r for r in lab.logs(f"loop-again-i{t}-gen-a1") if r["selm"] == "engine-call"]
