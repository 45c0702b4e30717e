"""The comparison of exploring loops: its batches are independent problems, its intervals are Student's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import science
from science_loops import Arm, run
from science_problem import Setting, make

SETTING = Setting("hidden", 0.02, "features", (3.0, 30.0))


def test_a_seeds_course_does_not_depend_on_the_seeds_and_rates_beside_it() -> None:
    together = run(make(SETTING, (1, 2)), SETTING, Arm("a", "SELM", alpha=0.1))
    alone = run(make(SETTING, (2,)), Setting("hidden", 0.02, "features", (30.0,)), Arm("a", "SELM", alpha=0.1))
    torch.testing.assert_close(together.reward[:, 1, 1], alone.reward[:, 0, 0], rtol=0, atol=1e-4)


def test_selm_at_alpha_0_is_dpo_and_the_loop_learns() -> None:
    problem = make(SETTING, (1, 2, 3))
    selm, dpo = (run(problem, SETTING, Arm("a", objective)) for objective in ("SELM", "DPO"))
    torch.testing.assert_close(selm.reward, dpo.reward, rtol=0, atol=0)
    assert bool((dpo.reward[-1] > dpo.reward[0]).all())


def test_the_explored_responses_fall_as_alpha_grows() -> None:
    problem = make(SETTING, tuple(range(5)))
    fallen = [
        float(run(problem, SETTING, Arm("a", "SELM", alpha=alpha)).explored_log_ratio[0].mean())
        for alpha in (0.0, 0.1, 0.3, 1.0, 3.0)
    ]
    assert fallen == sorted(fallen, reverse=True)
    assert len(set(fallen)) == 5


@pytest.mark.parametrize(("freedom", "point"), [(1, 12.7062), (4, 2.7764), (19, 2.0930), (39, 2.0227)])
def test_students_points(freedom: int, point: float) -> None:
    assert science.student_975(freedom) == pytest.approx(point, rel=5e-3)


@pytest.mark.parametrize(
    ("means", "further"),
    [
        ({1.0: 0.1, 3.0: 0.3, 10.0: 0.2}, None),
        ({1.0: 0.1, 3.0: 0.2, 10.0: 0.3}, 30.0),
        ({1.0: 0.3, 3.0: 0.2, 10.0: 0.1}, pytest.approx(1 / 3)),
        ({1.0: 0.1, 3.0: 0.2, 10.0: 0.3, 30.0: 0.4, 30_000.0: 0.5}, None),
    ],
)
def test_learning_rates_are_tried_until_the_best_has_worse_ones_on_both_sides(
    means: dict[float, float], further: float | None
) -> None:
    assert science.beyond(means, (1.0, 3.0, 10.0)) == further
