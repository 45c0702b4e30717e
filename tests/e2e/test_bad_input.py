"""What a wrong SELMRun gets: refused at the earliest place that can know it, and no later phase starts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


# --- refused by the API server, in `kubectl apply`'s answer ------------------------------------------------------

AT_APPLY: list[tuple[str, dict[str, Any], str]] = [
    ("a field that does not exist", {"trainnig": {}}, "trainnig"),
    ("a quoted number", {"training": {"learningRate": "5e-5"}}, "spec.training.learningRate"),
    ("a batch that ranks do not divide", {"training": {"batchSize": 9, "ranksPerNode": 1}}, "spec.training.batchSize"),
    ("a schedule entry beyond the iterations", {"schedule": [{"iteration": 2, "alpha": 0.0}]}, "spec.schedule"),
    ("several samples at temperature 0", {"generation": {"temperature": 0.0}}, "spec.generation.temperature"),
    (
        "parameters of another objective",
        {"training": {"objective": {"type": "DPO", "simPO": {"gamma": 1}}}},
        "spec.training.objective.simPO",
    ),
    ("an objective that does not exist", {"training": {"objective": {"type": "PPO"}}}, "spec.training.objective.type"),
]


@pytest.mark.parametrize(("changes", "field"), [case[1:] for case in AT_APPLY], ids=[case[0] for case in AT_APPLY])
def test_the_api_server_refuses(lab: Lab, inputs: dict[str, str], changes: dict[str, Any], field: str) -> None:
    assert field in lab.refused(make_run("bad", inputs, **changes))


def test_the_api_server_refuses_a_name_with_a_dot(lab: Lab, inputs: dict[str, str]) -> None:
    assert "metadata.name" in lab.refused(make_run("bad.name", inputs))


# --- refused by Preparation, before any other Job ----------------------------------------------------------------

BY_PREPARATION: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("missing-bucket", {"artifacts": {"uri": "s3://no-such-bucket/x"}}, ("spec.artifacts.uri", "no-such-bucket")),
    (
        "wrong-credentials",
        {"artifacts": {"credentialsSecretRef": {"name": "wrong"}}},
        ("spec.artifacts.credentialsSecretRef",),
    ),
    ("missing-model", {"model": {"uri": "s3://selm/no/such/model"}}, ("spec.model.uri", "s3://selm/no/such/model")),
    ("missing-field", {"data": {"columns": {"chosen": "better"}}}, ("better", "row")),
    ("too-many-shards", {"generation": {"shards": 100}}, ("spec.generation.shards", "100")),
    (
        "bad-rule",
        {"scoring": {"scorers": [{"name": "r", "rules": [{"type": "Regex", "pattern": "("}]}]}},
        ("spec.scoring.scorers[0].rules[0]", "pattern"),
    ),
    (
        "no-reward-model",
        {"scoring": {"scorers": [{"name": "m", "rewardModel": {"uri": "MODEL"}}]}},
        ("spec.scoring.scorers[0].rewardModel.uri", "LlamaForCausalLM"),
    ),
    ("too-few-pairs", {"training": {"batchSize": 1000}}, ("spec.training.batchSize", "1000")),
    (
        "no-such-module",
        {"training": {"lora": {"targetModules": ["wqkv"]}}},
        ("spec.training.lora.targetModules", "wqkv"),
    ),
    (
        "no-tracker",
        {"training": {"reportTo": {"mlflow": {"trackingURI": "http://mlflow:5000", "experiment": "e"}}}},
        ("spec.training.reportTo.mlflow", "image"),
    ),
]


@pytest.mark.parametrize(("name", "changes", "words"), BY_PREPARATION, ids=[case[0] for case in BY_PREPARATION])
def test_preparation_refuses(
    lab: Lab, inputs: dict[str, str], name: str, changes: Json, words: tuple[str, ...]
) -> None:
    if name == "wrong-credentials":
        lab.kubectl(
            "create",
            "secret",
            "generic",
            "wrong",
            "--from-literal=AWS_ACCESS_KEY_ID=AKIAWRONG",
            "--from-literal=AWS_SECRET_ACCESS_KEY=no",
        )
    run = make_run(name, inputs, **changes)
    lab.apply(json.loads(json.dumps(run).replace('"MODEL"', json.dumps(inputs["model"]))))
    found = lab.in_condition(name, "Succeeded", "False", "InvalidInput", 120)
    assert [word for word in words if word not in found["message"]] == [], found["message"]
    run = lab.run(name)
    assert condition(run, "Stalled")["status"] == "True"
    assert condition(run, "Accepted")["status"] == "True", json.dumps(run["status"]["conditions"])
    assert [job["metadata"]["name"] for job in jobs_of(lab, name)] == [f"{name}-i0-prep-a1"]


def jobs_of(lab: Lab, name: str) -> list[Json]:
    return lab.items("jobs", "-l", f"selm.dev/run-uid={lab.run(name)['metadata']['uid']}")
