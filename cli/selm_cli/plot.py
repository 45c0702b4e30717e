"""The report's plot: the policy's reward by iteration with its interval, what stood beside it, and the control arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt

from selm_cli.report_data import Report

INK, ACCENT, SECOND, THIRD, CONTROL = "#222222", "#1f6f8b", "#c8553d", "#6b7a3a", "#888888"


def draw(report: Report, path: Path) -> Path:
    """Write the plot as PNG: reward, preference accuracy and win rate, and KL to the start; the control's as grey lines."""
    labels = [row.label.replace("iteration ", "it. ") for row in report.rows]
    x = list(range(len(labels)))
    places, control = control_curve(report)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")

    own = [row.metrics for row in report.rows]
    rewards = values(own, "meanReward")
    intervals = [row.metrics.get("meanRewardCI95", 0.0) for row in report.rows]
    left.errorbar(x, rewards, yerr=intervals, marker="o", capsize=4, color=ACCENT)
    if control:
        means = values(control, "meanReward")
        widths = [metrics.get("meanRewardCI95", 0.0) for metrics in control]
        left.errorbar(places, means, yerr=widths, fmt="D:", capsize=4, color=CONTROL, label="control, alpha 0")
        left.legend(frameon=False, loc="lower right")
        middle.plot(places, values(control, "winRateBase"), "D:", color=CONTROL, label="the control's win rate")
        right.plot(places, values(control, "kl"), "D:", color=CONTROL, label="control, alpha 0")
        right.legend(frameon=False, loc="lower right")
    left.set_title("Mean reward on held-out prompts, 95 % interval")
    best = next((i for i, row in enumerate(report.rows) if row.iteration == report.best), None)
    if best is not None:
        left.scatter([best], [rewards[best]], s=140, facecolors="none", edgecolors=SECOND, zorder=3, label="selected")
        left.legend(frameon=False, loc="lower right")

    middle.plot(
        x,
        values(own, "winRateBase"),
        "o-",
        color=ACCENT,
        label="win rate against the base",
    )
    middle.plot(
        x,
        values(own, "preferenceAccuracy"),
        "s--",
        color=SECOND,
        label="preference accuracy",
    )
    middle.set_ylim(0, 1.02)
    middle.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    middle.set_title("Win rate and preference accuracy")
    middle.legend(frameon=False, loc="lower right")

    right.plot(x, values(own, "kl"), "o-", color=THIRD)
    right.set_title("KL to the start (nats a response)")

    for axis in (left, middle, right):
        axis.set_xticks(x, labels)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK)
        axis.title.set_fontsize(10)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def control_curve(report: Report) -> tuple[list[int], list[Mapping[str, float]]]:
    """The places on the axis where the control has figures, and those: the base's, which both arms share, then its own.

    Empty without a control, or before it has an evaluated iteration.
    """
    theirs = {row.iteration: row.theirs for row in report.arms.rows if row.theirs} if report.arms else {}
    if not theirs:
        return [], []
    known = {0: report.rows[0].metrics, **theirs}
    shown = [(place, known[row.iteration]) for place, row in enumerate(report.rows) if row.iteration in known]
    return [place for place, _ in shown], [metrics for _, metrics in shown]


def values(of: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """One metric's, a gap where it is missing."""
    return [metrics.get(name, float("nan")) for metrics in of]
