"""A run beside its control arm: figures of both by iteration, and what the exploring term made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selm_cli.report_data import IterationRow, RunArtifacts, iteration_rows, with_facts
from selm_cli.run_state import RunState
from selm_runtime.artifacts.store import NotFound, Store
from selm_runtime.contract import Phase
from selm_runtime.evaluate.statistics import Estimate, WinRate, bootstrap_interval, paired_gain, win_points

if TYPE_CHECKING:
    from selm_cli.cluster import Cluster

CONTROL_CREATED = "ControlCreated"
REWARDS = "rewards.parquet"
COMBINED = "combined"
HELD_OUT = "rows/held-out.parquet"
SAME_FIGURE = 1e-9
"""How near a win rate of the kept scores has to be to the one that Evaluation reported."""

Scores = Mapping[int, float | None]
"""A scorer's, by held-out row; None where it could not say."""


@dataclass(frozen=True)
class Arm:
    """The control run, or why there is none to show."""

    name: str
    run: RunState | None = None
    missing: str | None = None


@dataclass(frozen=True)
class ArmsRow:
    """One iteration of both arms. The differences are the run's figure less the control's."""

    iteration: int
    ours: Mapping[str, float]
    theirs: Mapping[str, float]
    """Empty where the control has not evaluated that iteration."""
    reward: Estimate | None
    """Over the same prompts, with the interval of the differences; None where an arm keeps no scores of them."""
    wins: WinRate | None
    """Of the win rates against the base, which both arms share: a difference between -1 and 1, with its bootstrap
    interval over the same prompts."""


@dataclass(frozen=True)
class Arms:
    name: str
    rows: tuple[ArmsRow, ...]
    missing: str | None = None
    """What there is instead of rows."""


def find_arm(cluster: Cluster, run: RunState) -> Arm | None:
    """The control run of a run; None where `evaluation.control` asks for none.

    Raises:
        CliError: the cluster does not answer.
    """
    if not (run.spec.get("evaluation") or {}).get("control"):
        return None
    made = run.status.get("control")
    if not made:
        why = run.condition(CONTROL_CREATED).get("message") or "the control run is made when iteration 1 is scored"
        return Arm(f"{run.name}-control", missing=f"There is no control arm yet: {why}.")
    found = cluster.find(run.namespace, made["name"])
    if found is None:
        return Arm(made["name"], missing=f"The control arm, SELMRun {made['name']}, was deleted; it is not made again.")
    state = RunState.of(found)
    if state.uid != made["uid"]:
        return Arm(
            made["name"],
            missing=f"The control arm was deleted; the SELMRun {made['name']} that is there now is another one.",
        )
    return Arm(made["name"], run=state)


def compare(store: Store, run: RunState, rows: Sequence[IterationRow], arm: Arm) -> Arms:
    """Both arms side by side, by the iterations that either has evaluated; `rows` are the run's, with their facts."""
    if arm.run is None:
        return Arms(arm.name, (), arm.missing)
    theirs = iteration_rows(arm.run)
    if not any(row.iteration for row in theirs):
        return Arms(arm.name, (), f"The control arm has no evaluated iteration yet: {arm.run.message}.")
    ours_in, theirs_in = RunArtifacts(store, run), RunArtifacts(store, arm.run)
    try:
        theirs = with_facts(theirs_in, theirs)
        pairs = _Prompts(ours_in, rows, theirs_in, theirs)
        both = {t: (_of(rows, t), _of(theirs, t)) for t in sorted({row.iteration for row in (*rows, *theirs)} - {0})}
        compared = tuple(
            ArmsRow(
                t,
                a.metrics if a else {},
                b.metrics if b else {},
                *(pairs.differences(a, b) if a and b else (None, None)),
            )
            for t, (a, b) in both.items()
        )
    except NotFound as error:
        return Arms(arm.name, (), f"The control arm's evaluations are gone from the store: {error}.")
    return Arms(arm.name, compared)


def _of(rows: Sequence[IterationRow], iteration: int) -> IterationRow | None:
    return next((row for row in rows if row.iteration == iteration), None)


class _Prompts:
    """The scores that both arms kept of their responses to the same held-out prompts."""

    def __init__(
        self,
        ours: RunArtifacts,
        our_rows: Sequence[IterationRow],
        theirs: RunArtifacts,
        their_rows: Sequence[IterationRow],
    ) -> None:
        self._ours, self._theirs = ours, theirs
        self._our_base, self._their_base = _of(our_rows, 0), _of(their_rows, 0)
        self._same_prompts = _held_out(ours) is not None and _held_out(ours) == _held_out(theirs)

    def differences(self, ours: IterationRow, theirs: IterationRow) -> tuple[Estimate | None, WinRate | None]:
        """Of the mean rewards, and of the win rates against the base."""
        scorer = ours.facts.get("selectedScorer")
        if not self._same_prompts or scorer is None or scorer != theirs.facts.get("selectedScorer"):
            return None, None
        a = scores(self._ours, ours.iteration, scorer)
        b = scores(self._theirs, theirs.iteration, scorer)
        pairs = [(x, y) for row in sorted(set(a) & set(b)) if (x := a[row]) is not None and (y := b[row]) is not None]
        reward = paired_gain(*map(list, zip(*pairs, strict=True))) if pairs else None
        return reward, self._wins(ours, a, theirs, b, scorer)

    def _wins(self, ours: IterationRow, a: Scores, theirs: IterationRow, b: Scores, scorer: str) -> WinRate | None:
        """None where a win is not the higher score, so that no prompt's outcome is kept."""
        if self._our_base is None or self._their_base is None:
            return None
        won, lost = (
            _points(held, scores(artifacts, 0, scorer), row.metrics.get("winRateBase"))
            for held, artifacts, row in ((a, self._ours, ours), (b, self._theirs, theirs))
        )
        both = sorted(set(won) & set(lost))
        if not both:
            return None
        differences = [won[row] - lost[row] for row in both]
        return WinRate(math.fsum(differences) / len(both), *bootstrap_interval(differences), len(both))


def _points(ours: Scores, base: Scores, reported: float | None) -> dict[int, float]:
    known = [row for row in sorted(set(ours) & set(base)) if ours[row] is not None and base[row] is not None]
    if reported is None or not known:
        return {}
    points = win_points([ours[row] or 0.0 for row in known], [base[row] or 0.0 for row in known])
    if abs(math.fsum(points) / len(points) - reported) > SAME_FIGURE:
        return {}
    return dict(zip(known, points, strict=True))


def scores(artifacts: RunArtifacts, iteration: int, scorer: str) -> dict[int, float | None]:
    """What a scorer (or `combined`) said of an iteration's held-out responses, by row."""
    table = artifacts.rows(iteration, Phase.EVALUATION, REWARDS)
    return {row["row"]: row["combined"] if scorer == COMBINED else dict(row["scores"]).get(scorer) for row in table}


def _held_out(artifacts: RunArtifacts) -> str | None:
    manifest = artifacts.manifest(0, Phase.PREPARATION)
    return next((entry.sha256 for entry in manifest.files if entry.name == HELD_OUT), None) if manifest else None


ON_ARMS = (
    "The run beside its control arm, which has alpha 0 and is otherwise the same. Differences are the run's figure less the "
    "control's on the same held-out prompts, with 95 % intervals over prompts (win rates: bootstrap). They say nothing of "
    "other seeds: an interval without 0 is one run's difference."
)
"""Read beside every table of both arms."""


def arm_cells(row: ArmsRow) -> dict[str, str]:
    """One iteration's figures by their headings; empty where an arm has none."""

    def number(metrics: Mapping[str, Any], name: str, form: str) -> str:
        return format(metrics[name], form) if name in metrics else ""

    def reward(metrics: Mapping[str, Any]) -> str:
        if "meanReward" not in metrics:
            return ""
        return f"{metrics['meanReward']:.3f} ± {metrics.get('meanRewardCI95', 0.0):.3f}"

    def difference(name: str, form: str) -> str:
        there = name in row.ours and name in row.theirs
        return format(row.ours[name] - row.theirs[name], form) if there else ""

    paired, wins = row.reward, row.wins
    return {
        "reward": reward(row.ours),
        "control's": reward(row.theirs),
        "difference": difference("meanReward", "+.3f")
        if paired is None
        else f"{paired.mean:+.3f} ± {paired.half_width:.3f}",
        "win": number(row.ours, "winRateBase", ".2f"),
        "control's win": number(row.theirs, "winRateBase", ".2f"),
        "win difference": difference("winRateBase", "+.2f")
        if wins is None
        else f"{wins.rate:+.2f} [{wins.low:+.2f}, {wins.high:+.2f}]",
        "KL": number(row.ours, "kl", ".1f"),
        "control's KL": number(row.theirs, "kl", ".1f"),
    }
