"""The push after the last iteration: what is done already is adopted, and a refused push fails no run."""

from __future__ import annotations

import hashlib
import json

import pytest

from support.e2e_runs import long_training
from support.lab import Json, Lab, artifact_prefix, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PUSHED, REFUSED = "pushed", "refused-push"
JOBS = {
    (0, "Evaluation"): "i0-eval",
    (1, "Generation"): "i1-gen",
    (1, "Scoring"): "i1-score",
    (1, "Training"): "i1-train",
    (1, "Evaluation"): "i1-eval",
}
"""Every phase that costs something, and its first Job's place in the name."""


@pytest.fixture(scope="module")
def runs(lab: Lab, inputs: dict[str, str], base: Json) -> dict[str, Json]:
    """Two runs equal to the base but for their push, side by side."""
    targets = {PUSHED: f"s3://{lab.bucket}/models/{lab.namespace}", REFUSED: f"s3://no-{lab.namespace}/models"}
    for name, uri in targets.items():
        lab.apply(long_training(name, inputs, push={"uri": uri, "model": "Final"}))
    return {name: lab.succeeded(name, 300) for name in targets}


def test_a_push_changes_no_phase_before_it(lab: Lab, base: Json, runs: dict[str, Json]) -> None:
    for (iteration, phase), job in JOBS.items():
        before = lab.manifest(base, iteration, phase)["contentDigest"]
        for name, run in runs.items():
            assert lab.manifest(run, iteration, phase)["contentDigest"] == before
            told = {record["selm"] for record in lab.logs(f"{name}-{job}-a1")}
            assert "adopted" in told, f"{name}: {phase} of iteration {iteration} was done again"


def test_the_model_is_where_it_was_asked_for(lab: Lab, runs: dict[str, Json]) -> None:
    run = runs[PUSHED]
    pushed = condition(run, "Pushed")
    assert (pushed["status"], pushed["reason"]) == ("True", "Pushed")
    place = run["spec"]["push"]["uri"].split("/", 3)[3]
    listed = lab.read_json(f"{place}/selm-push.json")["files"]
    there = {o["Key"].removeprefix(f"{place}/") for o in lab.objects(f"{place}/")}
    assert there == {*listed, "selm-push.json"}
    for name, (size, digest) in listed.items():
        body = lab.s3.get_object(Bucket=lab.bucket, Key=f"{place}/{name}")["Body"].read()
        assert (len(body), f"sha256:{hashlib.sha256(body).hexdigest()}") == (size, f"sha256:{digest[-64:]}"), name
    trained = {f["name"]: f["sha256"][-64:] for f in lab.manifest(run, 1, "Training")["files"]}
    weights = {name: digest[-64:] for name, (_, digest) in listed.items() if name.endswith(".safetensors")}
    assert weights
    assert weights.items() <= {name.removeprefix("model/"): digest for name, digest in trained.items()}.items()


def test_the_card_stands_in_the_push_and_beside_the_run(lab: Lab, runs: dict[str, Json]) -> None:
    run = runs[PUSHED]
    place = run["spec"]["push"]["uri"].split("/", 3)[3]
    card = lab.s3.get_object(Bucket=lab.bucket, Key=f"{place}/README.md")["Body"].read().decode()
    manifest = lab.manifest(run, 1, "Push")
    kept = next(f["path"] for f in manifest["files"] if f["name"] == "README.md")
    key = f"{artifact_prefix(run)}/iter-1/push/{kept}"
    assert lab.s3.get_object(Bucket=lab.bucket, Key=key)["Body"].read().decode() == card
    assert phase_status(run, 1, "Training")["manifestDigest"] in card
    assert manifest["facts"]["iteration"] == 1
    assert f"s3://{lab.bucket}" not in card


def test_a_refused_push_fails_no_run(lab: Lab, runs: dict[str, Json]) -> None:
    run = runs[REFUSED]
    pushed = condition(run, "Pushed")
    assert (pushed["status"], pushed["reason"]) == ("False", "InvalidInput")
    assert "spec.push.uri" in pushed["message"]
    assert f"no-{lab.namespace}" in pushed["message"]
    assert condition(run, "Succeeded")["status"] == "True", json.dumps(run["status"]["conditions"])
    assert condition(run, "Stalled")["status"] == "False"
