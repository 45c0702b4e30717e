"""The report's plot: the policy's reward by iteration with its interval, and what stood beside it."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt

from selm_cli.report_data import Report

INK, ACCENT, SECOND, THIRD = "#222222", "#1f6f8b", "#c8553d", "#6b7a3a"


def draw(report: Report, path: Path) -> Path:
    """Write the plot as PNG: reward, preference accuracy and win rate, and KL to the start."""
    labels = [row.label.replace("iteration ", "it. ") for row in report.rows]
    x = list(range(len(labels)))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")

    rewards = [row.metrics.get("meanReward", float("nan")) for row in report.rows]
    intervals = [row.metrics.get("meanRewardCI95", 0.0) for row in report.rows]
    left.errorbar(x, rewards, yerr=intervals, marker="o", capsize=4, color=ACCENT)
    left.set_title("Mean reward on held-out prompts, 95 % interval")
    best = next((i for i, row in enumerate(report.rows) if row.iteration == report.best), None)
    if best is not None:
        left.scatter([best], [rewards[best]], s=140, facecolors="none", edgecolors=SECOND, zorder=3, label="selected")
        left.legend(frameon=False, loc="lower right")

    middle.plot(
        x,
        [row.metrics.get("winRateBase", float("nan")) for row in report.rows],
        "o-",
        color=ACCENT,
        label="win rate against the base",
    )
    middle.plot(
        x,
        [row.metrics.get("preferenceAccuracy", float("nan")) for row in report.rows],
        "s--",
        color=SECOND,
        label="preference accuracy",
    )
    middle.set_ylim(0, 1.02)
    middle.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    middle.set_title("Win rate and preference accuracy")
    middle.legend(frameon=False, loc="lower right")

    right.plot(x, [row.metrics.get("kl", float("nan")) for row in report.rows], "o-", color=THIRD)
    right.set_title("KL to the start (nats a response)")

    for axis in (left, middle, right):
        axis.set_xticks(x, labels)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK)
        axis.title.set_fontsize(10)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path
