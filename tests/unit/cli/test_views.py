"""What `selm watch` and `selm report` show of a run's status."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from selm_cli import report
from selm_cli.cluster import PodProgress, last_progress
from selm_cli.report_data import Report, Sample, iteration_rows
from selm_cli.run_state import RunState
from selm_cli.view import render
from selm_runtime.contract import Phase

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def phase(name: str, state: str, start: str | None = None, end: str | None = None, **metrics: float) -> dict[str, Any]:
    entry: dict[str, Any] = {"phase": name, "state": state, "attempts": 1}
    if start:
        entry["startTime"] = f"2026-01-01T00:{start}Z"
    if end:
        entry["completionTime"] = f"2026-01-01T00:{end}Z"
    if metrics:
        entry["metrics"] = [{"name": k, "value": v} for k, v in metrics.items()]
    return entry


def make_run(*, succeeded: str = "Unknown", reason: str = "Training", accepted: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"name": "one", "namespace": "team", "uid": "u"},
        "spec": {"iterations": 2, "evaluation": {"selectBy": {"metric": "MeanReward"}}},
        "status": {
            "bestIteration": 1,
            "modelURI": "s3://b/team/one-u/iter-1/training/pod-x/model",
            "current": {"iteration": 2, "phase": "Training", "attempt": 1, "jobName": "one-i2-train-a1"},
            "conditions": [
                {"type": "Accepted", "status": accepted, "reason": "Valid", "message": "the spec is valid"},
                {"type": "Succeeded", "status": succeeded, "reason": reason, "message": "iteration 2 of 2"},
            ],
            "iterations": [
                {
                    "iteration": 0,
                    "phases": [
                        phase("Preparation", "Succeeded", "00:00", "00:10"),
                        phase("Evaluation", "Succeeded", "00:10", "01:00", meanReward=0.5, meanRewardCI95=0.05),
                    ],
                },
                {
                    "iteration": 1,
                    "phases": [
                        phase("Generation", "Skipped"),
                        phase("Scoring", "Skipped"),
                        phase(
                            "Training", "Succeeded", "01:00", "03:00", loss=0.61, rewardChosen=-0.25, rewardMargin=0.5
                        ),
                        phase("Evaluation", "Succeeded", "03:00", "04:00", meanReward=0.75, winRateBase=0.8, kl=1.5),
                    ],
                },
                {"iteration": 2, "phases": [phase("Training", "Running", "09:00")]},
            ],
        },
    }


def text_of(renderable: RenderableType) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_grid_shows_each_phase_with_its_seconds_and_the_rates_of_the_running_pods() -> None:
    pods = [PodProgress("p0", 0, "Running", None, {"done": 3, "total": 6, "unit": "pairs", "pairsPerSecond": 0.5})]
    shown = text_of(render(RunState.of(make_run()), pods, NOW))
    assert "✓ 10 s" in shown
    assert "▶ 60 s" in shown
    assert "0.750" in shown
    assert "rank 0" in shown
    assert "3/6 pairs" in shown
    assert "pairs/s 0.5" in shown


def test_a_waiting_pod_says_why_it_waits() -> None:
    pods = [PodProgress("p0", 0, "Pending", "CreateContainerConfigError", {})]
    assert "CreateContainerConfigError" in text_of(render(RunState.of(make_run()), pods, NOW))


@pytest.mark.parametrize(
    ("run", "finished", "succeeded"),
    [
        (make_run(), False, False),
        (make_run(succeeded="True", reason="Finished"), True, True),
        (make_run(succeeded="False", reason="InvalidInput"), True, False),
        (make_run(accepted="False"), True, False),
    ],
    ids=["a running run goes on", "a succeeded run has ended", "a failed run has ended", "a refused run has ended"],
)
def test_when_watching_ends(run: dict[str, Any], finished: bool, succeeded: bool) -> None:
    state = RunState.of(run)
    assert (state.finished, state.succeeded) == (finished, succeeded)


def test_the_table_has_the_base_and_each_evaluated_iteration() -> None:
    rows = iteration_rows(RunState.of(make_run()))
    assert [row.label for row in rows] == ["base", "iteration 1"]
    assert rows[1].seconds == {Phase.TRAINING: 120.0, Phase.EVALUATION: 60.0}


def test_the_report_names_the_selected_iteration_and_escapes_what_the_model_wrote(tmp_path: Any) -> None:
    run = RunState.of(make_run(succeeded="True"))
    sample = Sample("Why <b>tea</b>?", "a & b", "[red]c[/red]", 0.1, 0.9)
    whole = Report(run, iteration_rows(run), (sample,), 1, "s3://b/model", None)
    page = report.html(whole, tmp_path / "report.png")
    assert "iteration 1" in page
    assert "Why &lt;b&gt;tea&lt;/b&gt;?" in page
    console = Console(width=160, record=True, file=io.StringIO())
    report.show(whole, console)
    shown = console.export_text()
    assert "◀ selected" in shown
    assert "0.750" in shown
    assert "[red]c[/red]" in shown
    for rendered in (page, shown):  # where a chosen reward below 0 is shown, it is explained
        assert "-0.250" in rendered
        assert "A falling chosen reward is no fault by itself" in " ".join(rendered.split())


def test_the_report_shows_intervals_lengths_and_the_length_bias(tmp_path: Any) -> None:
    def facts(rate: float, gain: float | None) -> dict[str, Any]:
        even = {"rate": rate, "low": rate - 0.1, "high": rate + 0.1, "n": 40}
        bias = {"correlation": 0.25, "slope": 0.0015, "gain_at_equal_length": gain}
        return {
            "selectedScorer": "long",
            "scorers": {"long": {"base": even, "previous": even, "length_bias": bias}},
            "lengths": {"mean": 33.4},
            "form": {"truncatedRate": 0.125, "emptyRate": 0.0},
        }

    run = RunState.of(make_run(succeeded="True"))
    base, first = iteration_rows(run)
    rows = (replace(base, facts=facts(0.5, None)), replace(first, facts=facts(0.7, -0.05)))
    whole = Report(run, rows, (), 1, "s3://b/model", None)
    console = Console(width=160, record=True, file=io.StringIO())
    report.show(whole, console)
    page, shown = report.html(whole, tmp_path / "report.png"), console.export_text()
    for rendered in (page, shown):
        for figure in ("0.70 [0.60, 0.80]", "33", "+0.25", "+0.150", "-0.050", "0.12"):
            assert figure in rendered
        assert "0.50 [0.40" not in rendered  # the base has no win rate against itself
        assert "responses only grew longer" in " ".join(rendered.split())
    assert "Responses</h2>" not in report.html(replace(whole, rows=(base, first)), tmp_path / "report.png")


def test_the_report_shows_the_suites_that_were_run(tmp_path: Any) -> None:
    def facts(value: float) -> dict[str, Any]:
        tasks = {"arc_easy": {"value": value, "stderr": 0.02}, "bleu": {"value": 0.25, "stderr": None}}
        alpaca = {"lengthControlledWinRate": value + 0.0625, "winRate": 0.6, "winRateLow": 0.5, "winRateHigh": 0.7}
        grades = {"mean": 10 * value + 0.5, "turns": [7.25, None]}
        lm_eval = {"mean": value / 2 + 0.125, "tasks": tasks}
        return {"suites": {"lmEval": lm_eval, "alpacaEval": alpaca, "mtBench": grades}}

    run = RunState.of(make_run(succeeded="True"))
    base, first = iteration_rows(run)
    whole = Report(run, (replace(base, facts=facts(0.4)), replace(first, facts=facts(0.5))), (), 1, "s3://b/m", None)
    console = Console(width=160, record=True, file=io.StringIO())
    report.show(whole, console)
    for rendered in (report.html(whole, tmp_path / "report.png"), console.export_text()):
        for figure in (
            "lm-eval",
            "0.325",
            "0.375",
            "0.400 ± 0.020",
            "0.500 ± 0.020",
            "0.250",
            "0.600 [0.500, 0.700]",
            "0.562",
            "4.50",
            "7.25",
        ):
            assert figure in rendered
    assert "Suites</h2>" not in report.html(replace(whole, rows=(base, first)), tmp_path / "report.png")


@pytest.mark.parametrize(
    ("log", "done"),
    [
        ('{"selm": "progress", "done": 1}\n{"selm": "progress", "done": 2}\nINFO x\n', 2),
        ('{"selm": "progress", "done": 1}\n{"selm": "progr', 1),
        ('{"selm": "engine-call", "chunk": 0}\n', None),
        ("no record at all", None),
    ],
    ids=["the last one counts", "a half-written line is passed over", "other records are no progress", "none"],
)
def test_the_last_progress_line_of_a_log(log: str, done: int | None) -> None:
    assert last_progress(log).get("done") == done
