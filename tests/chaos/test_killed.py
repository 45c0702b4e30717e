"""Real processes are killed; nothing is lost and nothing is done twice."""

from __future__ import annotations

import json
from collections import Counter

import psutil
import pytest

from support.e2e_runs import make_run, with_fault
from support.lab import Json, Lab, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

UNCLIPPED = {"maxGradNorm": 1.0e5}


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, inputs: dict[str, str]) -> Json:
    """A run that nothing disturbs, without reuse: what every killed one must equal."""
    lab.apply(make_run("undisturbed", inputs, artifacts={"reuse": "None"}, training=UNCLIPPED))
    return lab.succeeded("undisturbed")


def assert_equal_results(lab: Lab, run: Json, other: Json) -> None:
    for phase in ("Generation", "Scoring", "Training", "Evaluation"):
        mine, theirs = lab.manifest(run, 1, phase), lab.manifest(other, 1, phase)
        assert mine["contentDigest"] == theirs["contentDigest"], phase


def test_a_killed_generating_shard_repeats_no_committed_chunk(
    lab: Lab, inputs: dict[str, str], undisturbed: Json
) -> None:
    run = make_run("killed-shard", inputs, artifacts={"reuse": "None"}, training=UNCLIPPED)
    lab.apply(with_fault(run, "Generation:chunk-committed:2:index=0"))
    ended = lab.succeeded("killed-shard")
    assert phase_status(ended, 1, "Generation")["attempts"] == 2
    calls = Counter(
        record["chunk"]
        for attempt in (1, 2)
        for record in lab.logs(f"killed-shard-i1-gen-a{attempt}")
        if record["selm"] == "engine-call"
    )
    assert calls, "no engine call was logged"
    assert set(calls.values()) == {1}, f"engine calls by chunk: {calls}"
    assert_equal_results(lab, ended, undisturbed)


KILLED_RANKS = [
    ("rank 0 after its first step", "Training:step-done:1:index=0"),
    ("rank 1 before the last step", "Training:step-done:2:index=1"),
    ("rank 0 before the commit", "Training:before-commit:1:index=0"),
]


@pytest.mark.parametrize("case", range(len(KILLED_RANKS)), ids=[name for name, _ in KILLED_RANKS])
def test_a_killed_rank_resumes_to_the_same_weights(
    lab: Lab, inputs: dict[str, str], undisturbed: Json, case: int
) -> None:
    name = f"killed-rank-{case}"
    # A bound on the gradient that is never reached, another one for each run: the same weights under another input
    # digest, so that a run finds the others' responses and scores but not their trained model.
    training = {"maxGradNorm": 1.0e5 + case, "checkpoint": {"intervalSeconds": 1}}
    lab.apply(with_fault(make_run(name, inputs, training=training), KILLED_RANKS[case][1]))
    ended = lab.succeeded(name)
    assert phase_status(ended, 1, "Training")["attempts"] == 2
    first = [record for record in lab.logs(f"{name}-i1-train-a1") if record["selm"] == "committed"]
    assert not [record for record in first if record.get("manifest")], "a rank finished alone"
    weights = lab.manifest(undisturbed, 1, "Training")["contentDigest"]
    assert lab.manifest(ended, 1, "Training")["contentDigest"] == weights


def test_a_killed_operator_goes_on_where_it_stopped(lab: Lab, inputs: dict[str, str]) -> None:
    if lab.embedded_state is None:
        pytest.skip("the operator of another cluster is not ours to kill")
    daemon = json.loads((lab.embedded_state / "run" / "operator.json").read_text())
    lab.apply(make_run("killed-operator", inputs, training={"learningRate": 3.0e-4}))
    lab.in_phase("killed-operator", 1, "Training")
    operator = psutil.Process(daemon["process"]["pid"])
    operator.kill()
    operator.wait(20)
    lab.start_cluster()
    run = lab.succeeded("killed-operator")
    jobs = lab.items("jobs", "-l", f"selm.dev/run-uid={run['metadata']['uid']}")
    assert len(jobs) == len({job["metadata"]["name"].rsplit("-a", 1)[0] for job in jobs}), "a phase was started twice"


def test_a_run_goes_on_after_cluster_and_store_were_stopped(lab: Lab, inputs: dict[str, str]) -> None:
    if lab.embedded_state is None:
        pytest.skip("another cluster is not ours to stop")
    lab.apply(make_run("stopped", inputs, training={"learningRate": 4.0e-4}))
    lab.in_phase("stopped", 1, "Training")
    before = lab.manifest(lab.run("stopped"), 1, "Generation")
    lab.stop_cluster()
    lab.start_cluster()
    ended = lab.succeeded("stopped")
    assert lab.manifest(ended, 1, "Generation") == before
    assert "countedFailures" not in ended["status"]["current"] or ended["status"]["current"]["countedFailures"] == 0
