"""The system's own loop at several strengths of the exploring term, over several seeds.

All arms of a seed share the base, the data, and the first iteration's responses and pairs: by reuse only training and
evaluation run again. Run with `-s`, the table at the end is what `docs/science.md` quotes.
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3600)]

ALPHAS = (0.0, 0.1, 0.3, 3.0)
SEEDS = (7, 42, 1505722266)
ITERATIONS = 2


def arm(inputs: dict[str, str], seed: int, alpha: float) -> Json:
    """beta is 1, so that alpha weighs the term by itself and the largest one outweighs the preference part."""
    training: dict[str, Any] = {
        "objective": {"type": "SELM", "alpha": alpha, "beta": 1.0},
        "learningRate": 1.0e-3,
        "nodes": 1,
    }
    name = f"alpha-{ALPHAS.index(alpha)}-{SEEDS.index(seed)}"
    return make_run(
        name,
        inputs,
        iterations=ITERATIONS,
        seed=seed,
        data={"portions": 1},
        generation={"shards": 1},
        training=training,
    )


def test_the_explored_responses_fall_as_alpha_grows(lab: Lab, inputs: dict[str, str]) -> None:
    evaluations: dict[tuple[int, float], list[Json]] = {}
    for seed in SEEDS:
        pairs = set()
        for alpha in ALPHAS:
            run = arm(inputs, seed, alpha)
            lab.apply(run)
            done = lab.succeeded(run["metadata"]["name"], seconds=1200)
            pairs.add(lab.manifest(done, 1, "Scoring")["contentDigest"])
            evaluations[seed, alpha] = [lab.manifest(done, t, "Evaluation")["metrics"] for t in range(ITERATIONS + 1)]
        assert len(pairs) == 1, "the first iteration's arms train on the same pairs"
    print(f"\n{'alpha':>6} {'explored log-ratio':>20} {'reward after each iteration, by seed':>40}")
    for alpha in ALPHAS:
        fallen = [evaluations[seed, alpha][1]["exploredLogRatio"] for seed in SEEDS]
        rewards = ["  ".join(f"{m['meanReward']:.3f}" for m in evaluations[seed, alpha]) for seed in SEEDS]
        gains = [evaluations[seed, alpha][-1]["rewardGain"] for seed in SEEDS]
        mean = f"mean gain {statistics.fmean(gains):+.3f} ± {statistics.stdev(gains):.3f} (standard deviation)"
        print(f"{alpha:6g} {statistics.fmean(fallen):20.3f}   {' | '.join(rewards)}   {mean}")
    for seed in SEEDS:
        ratios = [evaluations[seed, alpha][1]["exploredLogRatio"] for alpha in ALPHAS]
        assert ratios == sorted(ratios, reverse=True), ratios
        assert len(set(ratios)) == len(ALPHAS)
