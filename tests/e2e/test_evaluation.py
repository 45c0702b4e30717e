"""A run with a control arm that is ended early: what the two share, where they part, and that raising iterations goes on."""

from __future__ import annotations

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME = "arms"
CONTROL = f"{NAME}-control"
SCORERS = [
    {"name": "rules", "rules": [{"type": "Length", "target": 4}, {"type": "Repetition"}]},
    # No response ever matches: by this scorer nothing beats the base, so that the run surely ends after iteration 1.
    {"name": "never", "weight": 0, "rules": [{"type": "Regex", "pattern": "never said by anybody"}]},
]


@pytest.fixture(scope="module")
def run(lab: Lab, inputs: dict[str, str]) -> Json:
    lab.apply(
        make_run(
            NAME,
            inputs,
            iterations=3,
            data={"portions": 4},
            scoring={"scorers": SCORERS},
            training={"nodes": 1, "objective": {"alpha": 0.5}},
            evaluation={
                "selectBy": {"scorer": "never"},
                "stopWhen": {"iterationsWithoutGain": 1},
                "control": True,
            },
        )
    )
    return lab.succeeded(NAME)


@pytest.fixture(scope="module")
def control(lab: Lab, run: Json) -> Json:
    return lab.succeeded(CONTROL)


def test_the_run_ended_early_and_says_why(run: Json) -> None:
    assert (condition(run, "Succeeded")["status"], condition(run, "Succeeded")["reason"]) == ("True", "StoppedEarly")
    assert "1 iteration brought nothing better than the base" in condition(run, "Succeeded")["message"]
    assert run["status"]["stoppedEarly"] | {"message": ""} == {"iteration": 1, "iterations": 3, "message": ""}
    assert run["status"]["bestIteration"] == 0


def test_the_control_is_owned_and_explores_nothing(run: Json, control: Json) -> None:
    assert condition(run, "ControlCreated")["status"] == "True"
    assert run["status"]["control"] == {"name": CONTROL, "uid": control["metadata"]["uid"]}
    assert [owner["uid"] for owner in control["metadata"]["ownerReferences"]] == [run["metadata"]["uid"]]
    assert control["spec"]["training"]["objective"]["alpha"] == 0
    assert "control" not in control["status"]


def test_the_arms_share_what_alpha_does_not_change(lab: Lab, run: Json, control: Json) -> None:
    for iteration, phase in ((0, "Evaluation"), (1, "Generation"), (1, "Scoring")):
        main, other = (lab.manifest(arm, iteration, phase) for arm in (run, control))
        assert main["contentDigest"] == other["contentDigest"]
        short = {"Evaluation": "eval", "Generation": "gen", "Scoring": "score"}[phase]
        records = lab.logs(f"{CONTROL}-i{iteration}-{short}-a1")
        assert any(record["selm"] in ("adopted", "already-committed") for record in records), f"{phase} was done again"


def test_the_arms_part_in_training_and_are_compared_on_the_same_prompts(lab: Lab, run: Json, control: Json) -> None:
    trained = [lab.manifest(arm, 1, "Training") for arm in (run, control)]
    assert trained[0]["contentDigest"] != trained[1]["contentDigest"]
    evaluated = [lab.manifest(arm, 1, "Evaluation") for arm in (run, control)]
    assert evaluated[0]["facts"]["heldOutRows"] == evaluated[1]["facts"]["heldOutRows"] == 8
    for manifest in evaluated:
        assert {"kl", "winRateBaseLow", "winRateBaseHigh"} <= manifest["metrics"].keys()
        assert {"base", "previous", "length_bias"} <= manifest["facts"]["scorers"]["rules"].keys()
    for arm in (run, control):
        shown = {m["name"] for m in phase_status(arm, 1, "Evaluation")["metrics"]}
        assert {"kl", "winRateBaseLow", "winRateBaseHigh", "meanLength"} <= shown


def test_more_iterations_take_the_stopped_run_further(lab: Lab, run: Json, control: Json) -> None:
    lab.change(NAME, iterations=4, schedule=[{"iteration": 2, "pairs": "Offline"}])
    lab.until("the run goes on", lambda: condition(lab.run(NAME), "Succeeded")["status"] == "Unknown", 60)
    grown = lab.succeeded(NAME)
    assert condition(grown, "Succeeded")["reason"] == "StoppedEarly"
    assert grown["status"]["stoppedEarly"]["iteration"] == 2
    assert grown["status"]["iterations"][:2] == run["status"]["iterations"]


def test_the_control_goes_with_its_run(lab: Lab, run: Json, control: Json) -> None:
    lab.delete_run(NAME)
    lab.until("the control is gone", lambda: not lab.items("selmruns", "-l", f"selm.dev/control-of={NAME}"), 120)
    uid = control["metadata"]["uid"]
    lab.until("and its Jobs", lambda: not lab.items("jobs", "-l", f"selm.dev/run-uid={uid}"), 120)
