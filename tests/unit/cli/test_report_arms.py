"""`selm report` beside the control arm: which figures, which intervals, and what is said where there is no control."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from selm_cli import plot, report
from selm_cli.report_arms import Arm, Arms, arm_cells, compare, find_arm
from selm_cli.report_data import Report, RunArtifacts, iteration_rows, selection_words, with_facts
from selm_cli.run_state import RunState
from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.manifest import FileEntry, Manifest, content_digest, digest_of
from selm_runtime.artifacts.store import open_uri
from selm_runtime.contract import Phase
from selm_runtime.evaluate.statistics import bootstrap_interval, estimate, win_rate
from selm_runtime.tables import HELD_OUT_REWARDS

Rewards = Sequence[float | None]
BASE: Rewards = [0.0, 0.5, 0.2, 0.9, None, 0.4]
OURS: Rewards = [0.1, 0.4, 0.2, 1.0, 0.3, 0.8]
THEIRS: Rewards = [0.0, 0.6, 0.1, 0.7, 0.5, None]


class Store:
    """Committed preparations and evaluations of runs, as Preparation and Evaluation leave them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"file://{root}"

    def run(self, name: str, evaluated: Sequence[Rewards], *, prompts: bytes = b"prompts", **more: Any) -> RunState:
        """A run whose evaluations, the base's first, gave these rewards."""
        uid, iterations = f"uid-of-{name}", []
        facts = {"selection": more["selection"]} if "selection" in more else {}
        preparation = self._commit(name, uid, 0, Phase.PREPARATION, {"rows/held-out.parquet": prompts}, facts)
        for t, rewards in enumerate(evaluated):
            rows = [{"row": 100 + i, "combined": value, "scores": [("rm", value)]} for i, value in enumerate(rewards)]
            table = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, schema=HELD_OUT_REWARDS), table)
            digest = self._commit(
                name, uid, t, Phase.EVALUATION, {"rewards.parquet": table.getvalue()}, {"selectedScorer": "rm"}
            )
            both = [(a, b) for a, b in zip(rewards, evaluated[0], strict=True) if a is not None and b is not None]
            wins = win_rate([a for a, _ in both], [b for _, b in both]).rate if t else 0.5
            mean = estimate([value for value in rewards if value is not None])
            metrics = {"meanReward": mean.mean, "meanRewardCI95": mean.half_width, "winRateBase": wins, "kl": 1.5 * t}
            metrics |= more.get("metrics", {})
            phases = [{"phase": "Preparation", "state": "Succeeded", "manifestDigest": preparation}] if t == 0 else []
            phases.append(
                {
                    "phase": "Evaluation",
                    "state": "Succeeded",
                    "manifestDigest": digest,
                    "metrics": [{"name": key, "value": value} for key, value in metrics.items()],
                }
            )
            iterations.append({"iteration": t, "phases": phases})
        spec = {
            "iterations": 3,
            "artifacts": {"uri": self.uri},
            "evaluation": {"control": True, "selectBy": {"metric": "WinRate"}},
        }
        return RunState("default", name, uid, spec, {"iterations": iterations, **more.get("status", {})})

    def open(self) -> FileStore:
        store = open_uri(self.uri, field="spec.artifacts.uri")
        assert isinstance(store, FileStore)
        return store

    def _commit(self, name: str, uid: str, t: int, phase: Phase, files: dict[str, bytes], facts: dict[str, Any]) -> str:
        folder = self.root / "default" / f"{name}-{uid}" / f"iter-{t}" / phase.slug
        entries = []
        for logical, data in files.items():
            path = folder / "pod-a" / logical
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            entries.append(FileEntry(name=logical, path=f"pod-a/{logical}", size=len(data), sha256=sha256))
        manifest = Manifest(
            phase=phase,
            iteration=t,
            input_digest=digest_of(name),
            content_digest=content_digest(entries),
            rows=0,
            files=tuple(entries),
            facts=facts,
        )
        (folder / "manifests").mkdir()
        hexadecimal = manifest.digest.removeprefix("sha256:")
        (folder / "manifests" / f"{hexadecimal}.json").write_bytes(manifest.to_bytes())
        return manifest.digest


class OneRun:
    """A cluster that holds a SELMRun, or none."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self._found = found

    def find(self, namespace: str, name: str) -> dict[str, Any] | None:
        if self._found is not None:
            assert (namespace, name) == ("default", self._found["metadata"]["name"])
        return self._found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def beside(store: Store, run: RunState, control: RunState) -> Arms:
    opened = store.open()
    rows = with_facts(RunArtifacts(opened, run), iteration_rows(run))
    return compare(opened, run, rows, Arm(control.name, run=control))


def test_both_arms_and_their_difference_over_the_same_prompts(store: Store) -> None:
    run, control = store.run("a", [BASE, OURS, OURS]), store.run("a-control", [BASE, THEIRS])
    first, second = beside(store, run, control).rows
    assert first.reward == estimate(
        [0.1 - 0.0, 0.4 - 0.6, 0.2 - 0.1, 1.0 - 0.7, 0.3 - 0.5]
    )  # the last prompt has no score
    points = [1.0 - 0.5, 0.0 - 1.0, 0.5 - 0.0, 1.0 - 0.0]  # nor has the base one of the fifth
    assert first.wins is not None
    assert (first.wins.rate, first.wins.n) == (0.25, 4)
    assert (first.wins.low, first.wins.high) == bootstrap_interval(points)
    assert first.wins.low < 0 < first.wins.high
    cells = arm_cells(first)
    assert cells["reward"].startswith("0.467 ± ")
    assert cells["control's"].startswith("0.380 ± ")
    assert cells["difference"].startswith("+0.020 ± ")
    assert (cells["win"], cells["control's win"], cells["KL"], cells["control's KL"]) == ("0.70", "0.38", "1.5", "1.5")
    assert cells["win difference"].startswith("+0.25 [-")
    assert (second.reward, second.wins, second.theirs) == (None, None, {})
    cells = arm_cells(second)
    assert (cells["reward"][:5], cells["control's"], cells["difference"], cells["win difference"]) == (
        "0.467",
        "",
        "",
        "",
    )


def test_other_prompts_have_no_paired_interval(store: Store) -> None:
    run = store.run("a", [BASE, OURS])
    (row,) = beside(store, run, store.run("a-control", [BASE, THEIRS], prompts=b"others")).rows
    assert (row.reward, row.wins) == (None, None)
    cells = arm_cells(row)
    assert (cells["difference"], cells["win difference"]) == ("+0.087", "+0.32")


def test_where_a_win_is_not_the_higher_score_the_win_rates_have_no_interval(store: Store) -> None:
    judged = {"metrics": {"winRateBase": 0.625}}
    run, control = store.run("a", [BASE, OURS], **judged), store.run("a-control", [BASE, THEIRS])
    (row,) = beside(store, run, control).rows
    assert row.reward is not None
    assert row.wins is None
    assert arm_cells(row)["win difference"] == "+0.25"


CREATED = {"control": {"name": "a-control", "uid": "uid-of-a-control"}}
WAITS = {
    "conditions": [
        {"type": "ControlCreated", "status": "False", "reason": "ControlNameTaken", "message": "a-control is another's"}
    ]
}


@pytest.mark.parametrize(
    ("status", "found", "words"),
    [
        ({}, None, "There is no control arm yet: the control run is made when iteration 1 is scored."),
        (WAITS, None, "There is no control arm yet: a-control is another's."),
        (CREATED, None, "The control arm, SELMRun a-control, was deleted; it is not made again."),
        (CREATED, "another", "The control arm was deleted; the SELMRun a-control that is there now is another one."),
    ],
    ids=["before iteration 1 is scored", "its name is taken", "deleted", "deleted, and its name used again"],
)
def test_a_control_that_is_not_there_is_said_so(
    store: Store, tmp_path: Path, status: dict[str, Any], found: str | None, words: str
) -> None:
    run = store.run("a", [BASE, OURS], status=status)
    there = found and {"metadata": {"name": "a-control", "uid": found, "namespace": "default"}, "spec": {}}
    arm = find_arm(OneRun(there or None), run)  # type: ignore[arg-type]
    assert arm is not None
    assert arm.missing == words
    arms = compare(store.open(), run, iteration_rows(run), arm)
    whole = Report(run, iteration_rows(run), (), 1, "s3://b/model", None, arms)
    for rendered in (shown(whole), report.html(whole, tmp_path / "report.png")):
        assert " ".join(words.split()) in " ".join(rendered.replace("&#39;", "'").split())


def test_a_control_without_an_evaluated_iteration_is_said_so(store: Store) -> None:
    control = store.run("a-control", [BASE])
    arms = beside(store, store.run("a", [BASE, OURS]), control)
    assert (arms.rows, arms.missing) == ((), f"The control arm has no evaluated iteration yet: {control.message}.")


def test_evaluations_that_are_gone_are_said_so(store: Store) -> None:
    run, control = store.run("a", [BASE, OURS]), store.run("a-control", [BASE, THEIRS])
    for path in store.root.glob("default/a-control-*/iter-1/evaluation/pod-a/*"):
        path.unlink()
    arms = beside(store, run, control)
    assert arms.rows == ()
    assert arms.missing is not None
    assert arms.missing.startswith("The control arm's evaluations are gone from the store")


def test_a_run_that_asks_for_no_control_has_none(store: Store) -> None:
    run = store.run("a", [BASE])
    assert find_arm(OneRun(None), replace(run, spec={**run.spec, "evaluation": {}})) is None  # type: ignore[arg-type]


def test_the_report_has_both_arms(store: Store, tmp_path: Path) -> None:
    run, control = store.run("a", [BASE, OURS], status=CREATED), store.run("a-control", [BASE, THEIRS])
    found = {
        "metadata": {"name": "a-control", "uid": control.uid, "namespace": "default"},
        "spec": control.spec,
        "status": control.status,
    }
    arm = find_arm(OneRun(found), run)  # type: ignore[arg-type]
    assert arm is not None
    rows = with_facts(RunArtifacts(store.open(), run), iteration_rows(run))
    whole = Report(run, rows, (), 1, "s3://b/model", None, compare(store.open(), run, rows, arm))
    for rendered in (shown(whole), report.html(whole, tmp_path / "report.png")):
        assert "beside a-control" in rendered.lower()
        assert "+0.020 ±" in rendered
        assert "alpha 0 and is otherwise the same" in " ".join(rendered.split())


def test_the_plot_has_the_controls_curve_beside_the_runs(store: Store, tmp_path: Path) -> None:
    run, control = store.run("a", [BASE, OURS, OURS]), store.run("a-control", [BASE, THEIRS])
    alone = Report(run, iteration_rows(run), (), 1, "s3://b/model", None)
    both = replace(alone, arms=beside(store, run, control))
    base, first = (row.metrics for row in iteration_rows(control))
    assert plot.control_curve(both) == ([0, 1], [base, first])
    assert plot.control_curve(alone) == ([], [])
    few, many = (grey_points(plot.draw(each, tmp_path / f"{i}.png")) for i, each in enumerate((alone, both)))
    assert few * 10 < many, "the letters have edges of that grey, too"


def grey_points(picture: Path) -> int:
    """Points of the control's colour in a picture."""
    points = (255 * matplotlib.image.imread(picture)[:, :, :3]).round().astype(int)
    return int((points == [int(plot.CONTROL[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2).sum())


def test_the_report_says_what_a_selection_left_of_the_rows(store: Store, tmp_path: Path) -> None:
    selection = {
        "of": "Chosen",
        "keep": 0.5,
        "rows": 9,
        "kept": 4,
        "meanLogProbKept": -1.25,
        "meanLogProbLeftOut": -2.5,
    }
    run = store.run("a", [BASE, OURS], selection=selection)
    words = selection_words(RunArtifacts(store.open(), run))
    whole = Report(run, iteration_rows(run), (), 1, "s3://b/model", None, selection=words)
    for rendered in (shown(whole), report.html(whole, tmp_path / "report.png")):
        assert "4 of 9 rows are kept" in " ".join(rendered.split())
        assert "-1.250 nats a token" in " ".join(rendered.split())
        assert "of those left out -2.500" in " ".join(rendered.split())
    assert selection_words(RunArtifacts(store.open(), store.run("b", [BASE]))) is None


def shown(whole: Report) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(whole, console)
    return console.export_text()
