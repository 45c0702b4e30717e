"""Writes what `science.py` found as a page and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from science_loops import ITERATIONS, STEPS
from science_problem import RECORDS

if TYPE_CHECKING:
    from science import Interval, Result

TEMPLATE = Path(__file__).with_name("science.md.txt")
NEGLIGIBLE = 0.01
"""Of a reward between 0 and 1: a gain whose interval excludes 0 and is smaller than this is called negligible."""


def write(
    results: Sequence[Result],
    sweep: Sequence[dict[str, float | str]],
    tuning: int,
    seeds: int,
    out: Path,
) -> None:
    """`science.md` and `images/science.png` below `out`."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    draw(results, out / "images" / "science.png")
    text = TEMPLATE.read_text().format(
        tuning=tuning,
        seeds=seeds,
        iterations=ITERATIONS,
        steps=STEPS,
        records=RECORDS,
        verdict=verdict(results),
        rewards=table(results),
        choices=choices(results),
        sweep=sweep_table(sweep),
    )
    (out / "science.md").write_text(text)


def verdict(results: Sequence[Result]) -> str:
    """One line an arm with a baseline, counted over the settings: what the intervals say and no more."""
    lines = []
    for arm in dict.fromkeys(result.arm for result in results if result.gain):
        gains = {result.setting: result.gain for result in results if result.arm == arm and result.gain}
        better = [name for name, gain in gains.items() if gain.excludes_zero and gain.mean > NEGLIGIBLE]
        worse = [name for name, gain in gains.items() if gain.excludes_zero and gain.mean < -NEGLIGIBLE]
        lowest, highest = (pick(gains.values(), key=lambda gain: gain.mean) for pick in (min, max))
        lines.append(
            f"- **{arm}**: better in {len(better)} of {len(gains)} settings{_named(better)}, worse in "
            f"{len(worse)}{_named(worse)}, no difference that counts in the others; gains from {_signed(lowest)} to "
            f"{_signed(highest)}."
        )
    return "\n".join(lines)


def table(results: Sequence[Result]) -> str:
    """Rows: arms; columns: settings; the reward, and the paired gain below it."""
    settings = list(dict.fromkeys(result.setting for result in results))
    by_place = {(result.arm, result.setting): result for result in results}
    began = {result.setting: result.curve[0] for result in results}
    lines = [
        "| arm | " + " | ".join(settings) + " |",
        "| --- |" + " --- |" * len(settings),
    ]
    lines.append("| initial policy | " + " | ".join(f"{began[setting]:.3f}" for setting in settings) + " |")
    for arm in dict.fromkeys(result.arm for result in results):
        cells = [_cell(by_place[arm, setting]) for setting in settings]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def choices(results: Sequence[Result]) -> str:
    """What tuning chose; an asterisk where the learning rate is at the edge of what was tried."""
    settings = list(dict.fromkeys(result.setting for result in results))
    by_place = {(result.arm, result.setting): result for result in results}
    lines = [
        "| arm | " + " | ".join(settings) + " |",
        "| --- |" + " --- |" * len(settings),
    ]
    for arm in dict.fromkeys(result.arm for result in results):
        cells = []
        for setting in settings:
            found = by_place[arm, setting]
            own = f", α {found.alpha:g}" if found.alpha else ""
            own += f", T {found.temperature:g}" if found.temperature > 1 else ""
            cells.append(f"{found.learning_rate:g}{'*' if found.rate_at_edge else ''}, β {found.beta:g}{own}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sweep_table(sweep: Sequence[dict[str, float | str]]) -> str:
    lines = [
        "| policy | α | explored log-ratio after iteration 1, nats | reward at the end |",
        "| --- | --- | --- | --- |",
    ]
    for row in sweep:
        lines.append(
            f"| {row['policy']} | {row['alpha']:g} | {row['explored']:.2f} ± {row['exploredHalfWidth']:.2f} "
            f"| {row['reward']:.3f} ± {row['rewardHalfWidth']:.3f} |"
        )
    return "\n".join(lines)


def draw(results: Sequence[Result], path: Path) -> None:
    """The gain of each arm over its baseline with its interval, a panel a setting."""
    settings = list(dict.fromkeys(result.setting for result in results))
    arms = list(dict.fromkeys(result.arm for result in results if result.gain))
    figure, axes = plt.subplots(2, (len(settings) + 1) // 2, figsize=(12, 6), layout="constrained", sharey=True)
    for axis, setting in zip(axes.T.flat, settings, strict=False):
        for place, arm in enumerate(reversed(arms)):
            gain = next(result.gain for result in results if (result.arm, result.setting) == (arm, setting))
            assert gain is not None
            color = "#1f6f8b" if gain.excludes_zero else "#999999"
            axis.errorbar(
                gain.mean,
                place,
                xerr=gain.half_width,
                marker="o",
                capsize=3,
                color=color,
            )
        axis.axvline(0.0, color="#222222", linewidth=0.8)
        axis.set_title(setting, fontsize=10)
        axis.set_yticks(range(len(arms)), list(reversed(arms)), fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        "gain in expected reward over the same loop without that exploration, 95 % interval",
        fontsize=9,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _cell(found: Result) -> str:
    reward = f"{found.reward.mean:.3f}"
    if found.gain is None:
        return reward
    mark = "**" if found.gain.excludes_zero else ""
    return f"{reward} ({mark}{_signed(found.gain)}{mark})"


def _signed(gain: Interval) -> str:
    return f"{gain.mean:+.3f} ± {gain.half_width:.3f}"


def _named(settings: Sequence[str]) -> str:
    return f" ({'; '.join(settings)})" if settings else ""
