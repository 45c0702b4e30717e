"""What may change while a run lives: more iterations, a schedule's future; and what may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME = "changed"


@pytest.fixture(scope="module")
def run(lab: Lab, inputs: dict[str, str]) -> Json:
    """Two iterations on the data's own pairs; the second's learning rate is changed while the first has not begun."""
    schedule = [{"iteration": t, "pairs": "Offline", "learningRate": 1.0e-4} for t in (1, 2)]
    lab.apply(
        make_run(NAME, inputs, iterations=2, data={"portions": 3}, training={"nodes": 1}, schedule=schedule),
    )
    lab.in_phase(NAME, 0, "Preparation")
    schedule[1]["learningRate"] = 3.0e-4
    lab.change(NAME, schedule=schedule)
    return lab.succeeded(NAME)


def test_a_schedule_entry_that_changed_before_its_iteration_is_obeyed(lab: Lab, run: Json) -> None:
    assert lab.manifest(run, 1, "Training")["metrics"]
    assert [peak_learning_rate(lab, t) for t in (1, 2)] == [1.0e-4, 3.0e-4]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("the seed", {"seed": 8}, "spec.seed"),
    ("the objective", {"training": {"objective": {"alpha": 0.5}}}, "spec.training.objective"),
    ("resources while at work", {"training": {"resources": {"limits": {"memory": "9Gi"}}}}, "training.resources"),
    ("fewer iterations", {"iterations": 1}, "spec.iterations"),
    ("an iteration that has begun", {"schedule": [{"iteration": 2, "pairs": "Offline"}]}, "spec.schedule"),
    ("a group that is removed", {"data": {"heldOut": None}}, "spec.data"),
]


@pytest.mark.parametrize(("changes", "field"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_the_api_server_refuses_a_change(lab: Lab, run: Json, changes: dict[str, Any], field: str) -> None:
    assert run["spec"] == lab.run(NAME)["spec"]
    assert field in lab.change_refused(NAME, **changes)


def test_a_finished_run_goes_on_with_more_iterations_and_repeats_nothing(lab: Lab, run: Json) -> None:
    before = lab.jobs(run)
    entry = {"iteration": 3, "pairs": "Offline", "learningRate": 2.0e-4}
    lab.change(NAME, iterations=3, schedule=[*run["spec"]["schedule"], entry])
    lab.until("the run goes on", lambda: condition(lab.run(NAME), "Succeeded")["status"] == "Unknown", 60)
    grown = lab.succeeded(NAME)
    after = lab.jobs(grown)
    assert before.items() <= after.items(), "a Job of an earlier iteration is another one now"
    assert sorted(after.keys() - before.keys()) == [f"{NAME}-i3-eval-a1", f"{NAME}-i3-train-a1"]
    assert grown["status"]["iterations"][:3] == run["status"]["iterations"]
    assert phase_status(grown, 3, "Evaluation")["state"] == "Succeeded"
    assert peak_learning_rate(lab, 3) == 2.0e-4


def peak_learning_rate(lab: Lab, iteration: int) -> float:
    """What an iteration's Training was told."""
    job = json.loads(lab.kubectl("get", "job", f"{NAME}-i{iteration}-train-a1", "-o", "json"))
    env = {e["name"]: e.get("value") for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    rate: float = json.loads(env["SELM_PHASE_CONFIG"])["training"]["learningRate"]
    return rate
