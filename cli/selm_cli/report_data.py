"""Gathers what a finished run's report shows: metrics from the status, texts from the store."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from selm_cli.run_state import PHASES, RunState
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.artifacts.store import Store
from selm_runtime.contract import Phase

if TYPE_CHECKING:
    from selm_cli.report_arms import Arms


@dataclass(frozen=True)
class IterationRow:
    """One line of the table: the base (iteration 0) or an iteration."""

    iteration: int
    metrics: dict[str, float]
    seconds: dict[Phase, float]
    attempts: int  # of all phases together
    training: dict[str, float] = field(default_factory=dict)
    """Training's own metrics; empty for the base."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What Evaluation's manifest says beside its metrics; empty where the store was not read."""

    @property
    def label(self) -> str:
        return "base" if self.iteration == 0 else f"iteration {self.iteration}"


@dataclass(frozen=True)
class Sample:
    """The responses of the base and of the best policy to one held-out prompt."""

    prompt: str
    before: str
    after: str
    reward_before: float
    reward_after: float


@dataclass(frozen=True)
class Report:
    run: RunState
    rows: tuple[IterationRow, ...]
    samples: tuple[Sample, ...]
    best: int
    model_uri: str
    model_path: Path | None
    arms: Arms | None = None
    """Beside the control; None where the run asks for none."""
    selection: str | None = None
    """What `data.selection` left of the rows, in words; None where it is not given."""

    @property
    def wall_seconds(self) -> float:
        """From the first phase's start to the last one's end."""
        spans = [self.run.phase(row.iteration, phase) for row in self.rows for phase in PHASES]
        starts = [span.start for span in spans if span.start]
        ends = [span.completion for span in spans if span.completion]
        return (max(ends) - min(starts)).total_seconds() if starts and ends else 0.0


def iteration_rows(run: RunState) -> tuple[IterationRow, ...]:
    """The iterations whose evaluation is committed, the base first."""
    now = datetime.now(UTC)
    rows = []
    for t in range(run.iterations + 1):
        evaluation = run.phase(t, Phase.EVALUATION)
        if evaluation.state != "Succeeded":
            continue
        states = [run.phase(t, phase) for phase in PHASES if run.has_phase(t, phase)]
        seconds = {s.phase: took for s in states if (took := s.seconds(now)) is not None}
        training = run.phase(t, Phase.TRAINING).metrics
        rows.append(IterationRow(t, evaluation.metrics, seconds, sum(s.attempts for s in states), training))
    return tuple(rows)


class RunArtifacts:
    """Reads a run's committed phases from its store, each by the digest that the status holds."""

    def __init__(self, store: Store, run: RunState) -> None:
        self._store = store
        self._run = run

    def folder(self, iteration: int, phase: Phase) -> str:
        run = self._run
        return f"{run.namespace}/{run.name}-{run.uid}/iter-{iteration}/{phase.slug}"

    def manifest(self, iteration: int, phase: Phase) -> Manifest | None:
        digest = self._run.phase(iteration, phase).manifest
        if digest is None:
            return None
        data = self._store.get(f"{self.folder(iteration, phase)}/manifests/{digest.removeprefix('sha256:')}.json")
        return Manifest.model_validate_json(data)

    def rows(self, iteration: int, phase: Phase, name: str) -> list[dict[str, Any]]:
        """The rows of one table of a phase; empty where the phase has none of that name."""
        manifest = self.manifest(iteration, phase)
        entry = next((f for f in manifest.files if f.name == name), None) if manifest else None
        if entry is None:
            return []
        data = self._store.get(f"{self.folder(iteration, phase)}/{entry.path}")
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
        return rows

    def download(self, iteration: int, phase: Phase, prefix: str, into: Path) -> Path | None:
        """Download and verify the files below a logical prefix; returns the folder, or None where there are none."""
        manifest = self.manifest(iteration, phase)
        entries = [f for f in manifest.files if f.name.startswith(prefix)] if manifest else []
        for entry in entries:
            target = into / entry.name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            key = f"{self.folder(iteration, phase)}/{entry.path}"
            self._store.download(key, target, size=entry.size, sha256=entry.sha256)
        return into if entries else None


def selection_words(artifacts: RunArtifacts) -> str | None:
    """What `data.selection` left of the rows for training; None where it is not given or nothing is prepared yet."""
    preparation = artifacts.manifest(0, Phase.PREPARATION)
    facts = preparation.facts.get("selection") if preparation else None
    if facts is None:
        return None
    of = {"Chosen": "the chosen response", "Best": "the likelier response", "Prompt": "the prompt"}[facts["of"]]
    left_out = facts["meanLogProbLeftOut"]
    others = "" if left_out is None else f", of those left out {left_out:.3f}"
    return (
        f"{facts['kept']} of {facts['rows']} rows are kept for training, those of which the base finds {of} likeliest: "
        f"{facts['meanLogProbKept']:.3f} nats a token in the mean{others}"
    )


def with_facts(artifacts: RunArtifacts, rows: Iterable[IterationRow]) -> tuple[IterationRow, ...]:
    """The rows with what each one's Evaluation says in full."""
    manifests = ((row, artifacts.manifest(row.iteration, Phase.EVALUATION)) for row in rows)
    return tuple(replace(row, facts=manifest.facts) if manifest else row for row, manifest in manifests)


@dataclass(frozen=True)
class Response:
    """A policy's response to a held-out prompt, and its combined reward."""

    text: str
    reward: float


def held_out(artifacts: RunArtifacts, iteration: int) -> dict[int, Response]:
    """By row, what the evaluation of an iteration kept, where it has a reward; empty where there is none."""
    texts = artifacts.rows(iteration, Phase.EVALUATION, "responses.parquet")
    rewards = {row["row"]: row["combined"] for row in artifacts.rows(iteration, Phase.EVALUATION, "rewards.parquet")}
    return {row["row"]: Response(row["text"], rewards[row["row"]]) for row in texts if rewards[row["row"]] is not None}


def samples(artifacts: RunArtifacts, best: int, count: int) -> tuple[Sample, ...]:
    """The held-out prompts whose gain lies in the middle of the field: typical ones, not the luckiest."""
    before, after = held_out(artifacts, 0), held_out(artifacts, best)
    prompts = {row["row"]: row for row in artifacts.rows(0, Phase.PREPARATION, "rows/held-out.parquet")}
    shared = sorted(set(before) & set(after) & set(prompts))
    by_gain = sorted(shared, key=lambda row: after[row].reward - before[row].reward)
    middle = by_gain[max(0, len(by_gain) // 2 - count // 2) :][:count]
    return tuple(
        Sample(
            prompt=str(prompts[row]["prompt"][-1]["content"]),
            before=before[row].text,
            after=after[row].text,
            reward_before=before[row].reward,
            reward_after=after[row].reward,
        )
        for row in middle
    )
