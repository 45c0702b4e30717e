"""Real processes are killed; nothing is lost and nothing is done twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from support.e2e_runs import make_run, with_fault
from support.lab import Json, Lab, phase_status

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, inputs: dict[str, str]) -> Json:
    """A run that nothing disturbs, without reuse: what every killed one must equal."""
    lab.apply(make_run("undisturbed", inputs, artifacts={"reuse": "None"}))
    return lab.succeeded("undisturbed")


def assert_equal_results(lab: Lab, run: Json, other: Json) -> None:
    for phase in ("Generation", "Scoring", "Training", "Evaluation"):
        mine, theirs = lab.manifest(run, 1, phase), lab.manifest(other, 1, phase)
        assert mine["contentDigest"] == theirs["contentDigest"], phase


def test_a_killed_generating_shard_repeats_no_committed_chunk(
    lab: Lab, inputs: dict[str, str], undisturbed: Json
) -> None:
    run = make_run("killed-shard", inputs, artifacts={"reuse": "None"})
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


@pytest.mark.parametrize(
    "fault",
    ["Training:step-done:1:index=0", "Training:step-done:2:index=1", "Training:before-commit:1:index=0"],
    ids=["rank 0 after its first step", "rank 1 before the last step", "rank 0 before the commit"],
)
def test_a_killed_rank_resumes_to_the_same_weights(
    lab: Lab, inputs: dict[str, str], undisturbed: Json, fault: str
) -> None:
    name = "killed-" + fault.split(":")[1] + "-" + fault.split(":")[2] + fault[-1]
    # Reuse finds the generation and the scores of the other runs here; training differs by nothing but the fault,
    # so its own reuse is prevented by killing before any commit and by distinct uids of runs without reuse.
    run = make_run(name, inputs, artifacts={"reuse": "None"}, training={"checkpoint": {"intervalSeconds": 1}})
    lab.apply(with_fault(run, fault))
    ended = lab.succeeded(name)
    assert phase_status(ended, 1, "Training")["attempts"] == 2
    first = [r for r in lab.logs(f"{name}-i1-train-a1") if r["selm"] == "committed"]
    assert not any("manifest" in record and record["manifest"] for record in first), "a rank finished alone"
    assert (
        lab.manifest(ended, 1, "Training")["contentDigest"] == lab.manifest(undisturbed, 1, "Training")["contentDigest"]
    )


def test_a_killed_operator_goes_on_where_it_stopped(lab: Lab, inputs: dict[str, str]) -> None:
    if lab.embedded_state is None:
        pytest.skip("the operator of another cluster is not ours to kill")
    pid_file = Path(lab.embedded_state) / "run" / "operator.pid"
    lab.apply(make_run("killed-operator", inputs, training={"learningRate": 3.0e-4}))
    lab.in_phase("killed-operator", 1, "Training")
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
    lab.until("the operator is gone", lambda: not Path(f"/proc/{pid_file.read_text().split()[0]}/exe").exists(), 20)
    lab.restart_operator()
    run = lab.succeeded("killed-operator")
    jobs = lab.items("jobs", "-l", f"selm.dev/run-uid={run['metadata']['uid']}")
    assert len(jobs) == len({job["metadata"]["name"].rsplit("-a", 1)[0] for job in jobs}), "a phase was started twice"
