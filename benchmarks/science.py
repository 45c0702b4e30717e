"""Does optimism help where the optimum lies outside the reference's mode? `make science` answers on a problem made for it.

Every arm's learning rate, beta and its own setting (alpha, or the sampler's temperature) are tuned on one set of seeds
by the mean reward after the last iteration; the figures are those of other seeds with that one choice, paired with the
arm that differs in nothing but the exploration (alpha 0, or temperature 1). Intervals are Student's t at 95 %.

    python benchmarks/science.py [--tuning 20] [--seeds 40] [--out docs]     # writes science.md and images/science.png
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from science_loops import Arm, Trajectory, run
from science_problem import Kind, Problem, Setting, make

TABULAR_RATES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
FEATURE_RATES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
RATE_STEP, WIDEST = 3.0, 1000.0
"""Between further learning rates, and how far from a setting's own they may lie (as a factor)."""
REGIONS = {"hidden": 0.02, "rare": 0.002, "benign": 0.5}
"""The initial policy's mass of region B, where the best responses are."""
SETTINGS = tuple(
    Setting(f"{name}, {kind}", mass, kind, rates)
    for name, mass in REGIONS.items()
    for kind, rates in (("features", FEATURE_RATES), ("tabular", TABULAR_RATES))
)
BETAS = (0.1, 0.5)
ALPHAS = (0.01, 0.1, 0.3)
TEMPERATURES = (1.5, 2.0, 3.0)
PUBLISHED_ALPHA = 0.001
SWEEP = (0.0, 0.1, 0.3, 1.0, 3.0)
TUNING_SEEDS_FROM, SEEDS_FROM = 1000, 0

DPO = Arm("iterative DPO", "SELM")
DPO_GREEDY = Arm("iterative DPO, greedy response", "SELM", temperature=0.0)
XPO_0 = Arm("XPO's loop at alpha 0", "XPO", loop="XPO")


@dataclass(frozen=True)
class Family:
    """An arm, the settings among which it is tuned beside rate and beta, and the arm that it is paired with."""

    arm: Arm
    baseline: str | None
    alphas: tuple[float, ...] = (0.0,)
    temperatures: tuple[float, ...] = ()

    def candidates(self) -> Iterable[Arm]:
        temperatures = self.temperatures or (self.arm.temperature,)
        for beta, alpha, temperature in itertools.product(BETAS, self.alphas, temperatures):
            # SELM's loss multiplies its term by beta, XPO's does not: so both terms are tried at the same weights.
            weighed = alpha * beta if self.arm.loop == "XPO" else alpha
            yield self.arm.with_settings(beta=beta, alpha=weighed, temperature=temperature)


FAMILIES = (
    Family(DPO, None),
    Family(
        Arm("SELM, sampled response, published alpha", "SELM"),
        DPO.name,
        (PUBLISHED_ALPHA,),
    ),
    Family(Arm("SELM, sampled response, tuned alpha", "SELM"), DPO.name, ALPHAS),
    Family(Arm("hotter sampler at alpha 0", "SELM"), DPO.name, temperatures=TEMPERATURES),
    Family(DPO_GREEDY, None),
    Family(
        Arm("SELM, greedy response, published alpha", "SELM", temperature=0.0),
        DPO_GREEDY.name,
        (PUBLISHED_ALPHA,),
    ),
    Family(
        Arm("SELM, greedy response, tuned alpha", "SELM", temperature=0.0),
        DPO_GREEDY.name,
        ALPHAS,
    ),
    Family(XPO_0, None),
    Family(Arm("XPO, tuned alpha", "XPO", loop="XPO"), XPO_0.name, ALPHAS),
)


@dataclass(frozen=True)
class Interval:
    mean: float
    half_width: float

    @property
    def excludes_zero(self) -> bool:
        return abs(self.mean) > self.half_width


@dataclass(frozen=True)
class Result:
    """One arm in one setting, on the seeds that it was not tuned on."""

    setting: str
    arm: str
    alpha: float
    beta: float
    temperature: float
    learning_rate: float
    rate_at_edge: bool
    reward: Interval
    gain: Interval | None
    """Over its baseline, seed by seed."""
    region_b: float
    curve: list[float]
    """Mean reward after each iteration, the initial policy's first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tuning", type=int, default=20, help="seeds on which settings are chosen")
    parser.add_argument("--seeds", type=int, default=40, help="seeds on which the figures are taken")
    parser.add_argument("--processes", type=int, default=2, help="settings that are worked on at once")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs"),
        help="folder of science.md and images/science.png",
    )
    asked = parser.parse_args()
    if min(asked.tuning, asked.seeds) < 2:
        parser.error("--tuning and --seeds: at least 2, an interval needs two values")
    started = time.monotonic()
    results: list[Result] = []
    with multiprocessing.get_context("spawn").Pool(
        asked.processes, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        swept = pool.apply_async(alpha_sweep, (asked.seeds,))
        work = [pool.apply_async(measure, (setting, asked.tuning, asked.seeds)) for setting in SETTINGS]
        for setting, done in zip(SETTINGS, work, strict=True):
            results += done.get()
            print(f"{time.monotonic() - started:6.0f} s  {setting.name}", flush=True)
        sweep = swept.get()
    from science_report import write

    write(results, sweep, asked.tuning, asked.seeds, asked.out)
    print(f"{time.monotonic() - started:6.0f} s  {asked.out / 'science.md'}")


def measure(setting: Setting, tuning: int, seeds: int) -> list[Result]:
    """Tune each arm on the one set of seeds, take its figures on the other."""
    tuned_on = make(setting, tuple(range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + tuning)))
    shown_on = make(setting, tuple(range(SEEDS_FROM, SEEDS_FROM + seeds)))
    rewards: dict[str, torch.Tensor] = {}
    results = []
    for family in FAMILIES:
        arm, rate, at_edge = tune(tuned_on, setting, family)
        found = final(shown_on, setting, arm, rate)
        reward = found.reward[-1, 0]
        rewards[arm.name] = reward
        results.append(
            Result(
                setting=setting.name,
                arm=arm.name,
                alpha=arm.alpha,
                beta=arm.beta,
                temperature=arm.temperature,
                learning_rate=rate,
                rate_at_edge=at_edge,
                reward=interval(reward),
                gain=interval(reward - rewards[family.baseline]) if family.baseline else None,
                region_b=float(found.region_b[-1].mean()),
                curve=[float(value) for value in found.reward.mean((1, 2))],
            )
        )
    return results


def tune(problem: Problem, setting: Setting, family: Family) -> tuple[Arm, float, bool]:
    """The candidate and the learning rate with the highest mean reward after the last iteration.

    Further rates are tried while the best lies at an end of those tried, up to `WIDEST`; True where it still does.
    """
    best: tuple[float, Arm, float, bool] | None = None
    for arm in family.candidates():
        means = _means(problem, setting, arm, setting.learning_rates)
        while (further := beyond(means, setting.learning_rates)) is not None:
            means |= _means(problem, setting, arm, (further,))
        rate = max(means, key=lambda tried: means[tried])
        if best is None or means[rate] > best[0]:
            best = (means[rate], arm, rate, rate in (min(means), max(means)))
    assert best is not None
    return best[1:]


def _means(problem: Problem, setting: Setting, arm: Arm, rates: tuple[float, ...]) -> dict[float, float]:
    """Mean reward after the last iteration, by learning rate; one that diverges has none to speak of."""
    means = run(problem, replace(setting, learning_rates=rates), arm).reward[-1].mean(-1).nan_to_num(nan=0.0)
    return dict(zip(rates, means.tolist(), strict=True))


def beyond(means: Mapping[float, float], own: tuple[float, ...]) -> float | None:
    """The next rate to try: beyond the end at which the best one lies, unless that is far enough from the `own`."""
    best = max(means, key=lambda rate: means[rate])
    if best == max(means) and best < own[-1] * WIDEST:
        return best * RATE_STEP
    if best == min(means) and best > own[0] / WIDEST:
        return best / RATE_STEP
    return None


def final(problem: Problem, setting: Setting, arm: Arm, rate: float) -> Trajectory:
    return run(problem, replace(setting, learning_rates=(rate,)), arm)


def alpha_sweep(seeds: int) -> list[dict[str, float | str]]:
    """At one rate and beta: how the explored responses fall as alpha grows, and what it does to the reward."""
    rows: list[dict[str, float | str]] = []
    kinds: tuple[tuple[Kind, float], ...] = (("features", 3.0), ("tabular", 100.0))
    for kind, rate in kinds:
        setting = Setting(f"hidden, {kind}", REGIONS["hidden"], kind, (rate,))
        problem = make(setting, tuple(range(SEEDS_FROM, SEEDS_FROM + seeds)))
        for alpha in SWEEP:
            found = run(problem, setting, DPO.with_settings(alpha=alpha))
            ratio, reward = (
                interval(found.explored_log_ratio[0, 0]),
                interval(found.reward[-1, 0]),
            )
            rows.append(
                {
                    "policy": kind,
                    "alpha": alpha,
                    "explored": ratio.mean,
                    "exploredHalfWidth": ratio.half_width,
                    "reward": reward.mean,
                    "rewardHalfWidth": reward.half_width,
                }
            )
    return rows


def interval(values: torch.Tensor) -> Interval:
    """Mean and half-width of Student's 95 % interval over seeds."""
    n = values.numel()
    return Interval(float(values.mean()), student_975(n - 1) * float(values.std()) / n**0.5)


def student_975(freedom: int) -> float:
    """The 97.5 % point of Student's t (Cornish-Fisher expansion: to 0.5 % from 4 degrees of freedom, exact below)."""
    exact = {1: 12.7062, 2: 4.3027, 3: 3.1824}
    if freedom in exact:
        return exact[freedom]
    z = 1.959963984540054
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


if __name__ == "__main__":
    main()
