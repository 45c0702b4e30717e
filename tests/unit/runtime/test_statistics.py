"""Statistics over held-out prompts and the choice of the best iteration."""

from __future__ import annotations

import math

import pytest

from selm_runtime.contract import SelectByConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate.selection import Standing, best_iteration
from selm_runtime.evaluate.statistics import bootstrap_interval, estimate, fit_line, log_odds, paired_gain, win_rate


def test_the_interval_of_known_numbers() -> None:
    found = estimate([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5
    assert found.half_width == pytest.approx(1.959964 * math.sqrt(5 / 3 / 4), rel=1e-6)
    assert estimate([3.0]).half_width == 0.0
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_the_interval_covers_as_often_as_it_says() -> None:
    import random

    draw = random.Random(1)
    hits = sum(
        abs((found := estimate([draw.gauss(0.3, 1.0) for _ in range(48)])).mean - 0.3) <= found.half_width
        for _ in range(2000)
    )
    assert 0.93 < hits / 2000 < 0.97


def test_a_paired_gain_is_narrower_than_the_difference_of_means() -> None:
    base = [0.1 * i for i in range(10)]
    ours = [value + 0.5 + 0.01 * (-1) ** i for i, value in enumerate(base)]
    gain = paired_gain(ours, base)
    assert gain.mean == pytest.approx(0.5)
    assert gain.half_width < 0.02 < estimate(ours).half_width
    with pytest.raises(ValueError):
        paired_gain(ours, base[1:])


def test_a_tie_is_half_a_win() -> None:
    assert win_rate([1.0, 0.0, 0.5, 0.7], [0.0, 1.0, 0.5, 0.1]).rate == pytest.approx(2.5 / 4)
    assert win_rate([1.0, 2.0], [1.0, 2.0]).rate == 0.5
    with pytest.raises(ValueError, match="no prompts"):
        win_rate([], [])


def test_the_bootstrap_interval_is_that_of_a_binomial_and_always_the_same() -> None:
    found = win_rate([1.0] * 60 + [0.0] * 40, [0.5] * 100)
    half = 1.959964 * math.sqrt(0.6 * 0.4 / 100)
    assert found.low == pytest.approx(0.6 - half, abs=0.015)
    assert found.high == pytest.approx(0.6 + half, abs=0.015)
    assert win_rate([1.0] * 60 + [0.0] * 40, [0.5] * 100) == found
    assert bootstrap_interval([0.5] * 7) == (0.5, 0.5)  # all ties: nothing varies
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


def test_the_bootstrap_interval_covers_as_often_as_it_says() -> None:
    import random

    draw = random.Random(2)
    hits = 0
    for _ in range(400):
        low, high = bootstrap_interval([draw.choice((0.0, 0.5, 1.0, 1.0)) for _ in range(60)])
        hits += low <= 0.625 <= high
    assert 0.9 < hits / 400 < 0.98


def test_a_line_through_known_points() -> None:
    line = fit_line([1.0, 2.0, 3.0, 4.0], [3.0, 5.0, 7.0, 9.0])
    assert line is not None
    assert (line.slope, line.intercept, line.correlation) == (2.0, 1.0, 1.0)
    falling = fit_line([1.0, 2.0, 3.0], [1.0, 0.0, 1.0])
    assert falling is not None
    assert (falling.slope, falling.correlation) == (0.0, 0.0)
    assert fit_line([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert fit_line([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) is None
    assert fit_line([1.0, 2.0], [1.0, 2.0]) is None


def test_log_odds_stay_finite() -> None:
    assert log_odds(0.5, 10) == 0.0
    assert log_odds(1.0, 10) == pytest.approx(math.log(0.95 / 0.05))
    assert log_odds(0.0, 10) == pytest.approx(-log_odds(1.0, 10))
    with pytest.raises(ValueError, match=r"win rate 1\.1"):
        log_odds(1.1, 10)


def standings(**figures: list[float]) -> list[Standing]:
    rows = [dict(zip(figures, values, strict=True)) for values in zip(*figures.values(), strict=True)]
    return [Standing(**{"iteration": i, "prompts": 40, "mean_reward": 0.0, **row}) for i, row in enumerate(rows)]


BEST: dict[str, tuple[list[Standing], SelectByConfig, int]] = {
    "the base alone is the best": (standings(mean_reward=[0.5]), SelectByConfig(), 0),
    "the highest win rate against the base": (standings(win_rate_base=[0.5, 0.6, 0.8, 0.7]), SelectByConfig(), 2),
    "nothing beat the base": (standings(win_rate_base=[0.5, 0.4, 0.45]), SelectByConfig(), 0),
    "as good as the base is not better": (standings(win_rate_base=[0.5, 0.5]), SelectByConfig(), 0),
    "of equals the earliest": (standings(win_rate_base=[0.5, 0.7, 0.7]), SelectByConfig(), 1),
    "log-odds add up along the chain": (
        standings(win_rate_previous=[0.5, 0.6, 0.6, 0.45]),
        SelectByConfig(against="Previous"),
        2,
    ),
    "a late winner that lost more before is not the best": (
        standings(win_rate_previous=[0.5, 0.7, 0.1, 0.8]),
        SelectByConfig(against="Previous"),
        1,
    ),
    "a chain that never rises above the base": (
        standings(win_rate_previous=[0.5, 0.3, 0.6]),
        SelectByConfig(against="Previous"),
        0,
    ),
    "the mean reward": (standings(mean_reward=[0.5, 0.6, 0.55]), SelectByConfig(metric="MeanReward"), 1),
    "the mean reward below the base's": (standings(mean_reward=[0.5, 0.4]), SelectByConfig(metric="MeanReward"), 0),
    "the preference accuracy": (
        standings(preference_accuracy=[0.6, 0.7, 0.9]),
        SelectByConfig(metric="PreferenceAccuracy"),
        2,
    ),
}


@pytest.mark.parametrize("case", BEST)
def test_the_best_iteration(case: str) -> None:
    given, select_by, expected = BEST[case]
    assert best_iteration(given, select_by) == expected


def test_selecting_by_an_accuracy_that_is_absent_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.evaluation\.selectBy\.metric"):
        best_iteration(standings(mean_reward=[0.5]), SelectByConfig(metric="PreferenceAccuracy"))


def test_a_gap_in_the_history_is_refused() -> None:
    with pytest.raises(ValueError, match="without a gap"):
        best_iteration(standings(mean_reward=[0.5, 0.6])[1:], SelectByConfig())
