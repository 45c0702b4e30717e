"""A run with a control arm that is ended early: what the two share, where they part, how they are shown, and that raising
iterations goes on. Both train on the rows that fit the base best, and measure those once.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.e2e_runs import make_run
from support.lab import BIN, Json, Lab, condition, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME = "arms"
CONTROL = f"{NAME}-control"
PORTIONS, KEEP = 4, 0.75
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
            data={"portions": PORTIONS, "selection": {"of": "Chosen", "keep": KEEP}},
            scoring={"scorers": SCORERS},
            training={"nodes": 1, "batchSize": 4, "objective": {"alpha": 0.5}},
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


def test_the_rows_that_fit_the_base_best_are_trained_on(lab: Lab, run: Json) -> None:
    prepared = lab.manifest(run, 0, "Preparation")
    measured = {row["row"]: row["log_prob"] for row in lab.rows(run, 0, "Preparation", "log-probs.parquet")}
    kept, selection = int(len(measured) * KEEP), prepared["facts"]["selection"]
    assert (selection["rows"], selection["kept"]) == (len(measured), kept)
    assert selection["meanLogProbKept"] > selection["meanLogProbLeftOut"]
    shown = {metric["name"]: metric["value"] for metric in phase_status(run, 0, "Preparation")["metrics"]}
    assert (shown["rows"], shown["leftOutBySelection"]) == (kept, len(measured) - kept)
    assert shown["leftOutBySelection"] > 0
    portions = [portion(lab, run, number) for number in range(1, PORTIONS + 1)]
    assert list(map(len, portions)) == prepared["facts"]["portions"]
    assert max(map(len, portions)) - min(map(len, portions)) <= 1
    rows = [row for its in portions for row in its]
    assert rows == sorted(sorted(measured, key=lambda row: (-measured[row], row))[:kept])
    generated = {response["row"] for response in lab.rows(run, 1, "Generation", "responses.parquet")}
    assert generated == set(portions[0]), "the iteration goes by its portion of what was kept"


def portion(lab: Lab, run: Json, number: int) -> list[int]:
    return [row["row"] for row in lab.rows(run, 0, "Preparation", f"portion-{number:04d}.parquet")]


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


def test_the_control_takes_over_the_figures_of_the_selection(lab: Lab, run: Json, control: Json) -> None:
    assert [record["selm"] for record in lab.logs(f"{CONTROL}-i0-prep-a1")].count("fit-reused") == 1
    main, other = (lab.manifest(arm, 0, "Preparation") for arm in (run, control))
    assert main["facts"]["selection"] == other["facts"]["selection"]
    assert portion(lab, run, 1) == portion(lab, control, 1)


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


def test_the_report_shows_both_arms_side_by_side(lab: Lab, run: Json, control: Json, tmp_path: Path) -> None:
    command = [BIN / "selm", "report", NAME, "--namespace", lab.namespace, "--out", tmp_path, "--no-model"]
    environment = {**lab.kubectl_environment, "COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    ours, theirs = (
        {m["name"]: m["value"] for m in phase_status(arm, 1, "Evaluation")["metrics"]} for arm in (run, control)
    )
    selection = lab.manifest(run, 0, "Preparation")["facts"]["selection"]
    for shown in (" ".join(done.stdout.split()), " ".join(page.split())):
        assert f"eside {CONTROL}" in shown  # a table's title, a page's heading
        assert f"{selection['kept']} of {selection['rows']} rows are kept" in shown
        for metrics in (ours, theirs):
            assert f"{metrics['meanReward']:.3f} ± {metrics['meanRewardCI95']:.3f}" in shown
            assert f"{metrics['kl']:.1f}" in shown
    assert (tmp_path / "report.png").stat().st_size > 0
    assert f"beside {CONTROL}".replace(" ", "&#160;") in (tmp_path / "report.svg").read_text()


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
