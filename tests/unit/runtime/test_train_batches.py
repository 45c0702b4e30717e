"""Order, steps, shares and micro-batches are functions of ids, lengths and the seed."""

from __future__ import annotations

import pytest

from selm_runtime.train.batches import (
    epoch_order,
    largest_micro_batch,
    micro_batches,
    own_in_batch,
    plan_step,
    schedule,
    split_ranks,
)
from selm_runtime.train.lr import learning_rate, warmup_steps
from support.phase_configs import phase_config


def test_the_order_is_that_of_the_ids_alone_and_new_in_each_epoch_and_iteration() -> None:
    rows = list(range(50))
    order = epoch_order(rows, seed=1, iteration=1, epoch=0)
    assert order == epoch_order(rows[::-1], seed=1, iteration=1, epoch=0)
    others = [
        epoch_order(rows, seed=2, iteration=1, epoch=0),
        epoch_order(rows, seed=1, iteration=2, epoch=0),
        epoch_order(rows, seed=1, iteration=1, epoch=1),
    ]
    assert all(other != order and sorted(other) == rows for other in others)


def test_the_order_is_this_one_on_every_machine_and_version() -> None:
    assert epoch_order(range(8), seed=42, iteration=1, epoch=0) == [3, 5, 0, 6, 1, 7, 2, 4]


def test_a_last_partial_batch_is_dropped_and_counted_in_each_epoch() -> None:
    made = schedule(range(10), batch_size=4, epochs=2, seed=0, iteration=1)
    assert [len(step) for step in made.steps] == [4, 4, 4, 4]
    assert (made.dropped, made.pairs) == (4, 16)
    assert set(made.rows) <= set(range(10))
    assert len(made.rows) == len(set(made.rows))


def test_fewer_rows_than_a_batch_make_no_step() -> None:
    assert schedule(range(3), batch_size=4, epochs=1, seed=0, iteration=1).steps == ()


def test_equal_row_ids_are_an_error() -> None:
    with pytest.raises(ValueError, match="distinct"):
        schedule([1, 1, 2], batch_size=1, epochs=1, seed=0, iteration=1)


def test_ranks_get_equally_many_rows_and_about_equally_many_tokens() -> None:
    tokens = {row: 10 * (row + 1) for row in range(8)}
    shares = split_ranks(range(8), tokens, 2)
    assert [len(share) for share in shares] == [4, 4]
    loads = [sum(tokens[row] for row in share) for share in shares]
    assert abs(loads[0] - loads[1]) <= 20


def test_rows_that_ranks_do_not_divide_are_an_error() -> None:
    with pytest.raises(ValueError, match="equally"):
        split_ranks(range(3), dict.fromkeys(range(3), 1), 2)


def test_every_rank_has_as_many_micro_batches_as_the_one_that_needs_most() -> None:
    tokens = {0: 90, 1: 90, 2: 90, 3: 5, 4: 5, 5: 5}
    plan = micro_batches([[0, 1, 2], [3, 4, 5]], tokens, 100)
    assert [len(share) for share in plan] == [3, 3]
    assert sorted(row for micro in plan[1] for row in micro) == [3, 4, 5]


def test_a_row_longer_than_the_limit_makes_a_micro_batch_of_its_own() -> None:
    plan = plan_step([0, 1], {0: 500, 1: 10}, ranks=1, max_tokens=100)
    assert sorted(plan[0]) == [[0], [1]]
    assert largest_micro_batch([plan], {0: 500, 1: 10}) == 500


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("Constant", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("Linear", [0.5, 1.0, 0.75, 0.5, 0.25]),
        ("Cosine", [0.5, 1.0, 0.8535533906, 0.5, 0.1464466094]),
    ],
)
def test_the_learning_rate_warms_up_to_its_peak_and_falls_towards_0(scheduler: str, expected: list[float]) -> None:
    rates = [
        learning_rate(step, steps=5, peak=1.0, warmup_ratio=0.1, scheduler=scheduler)  # type: ignore[arg-type]
        for step in range(5)
    ]
    assert rates == pytest.approx(expected)


def test_no_step_has_a_learning_rate_of_0() -> None:
    for steps in (1, 2, 7, 100):
        for ratio in (0.0, 0.1, 1.0):
            rates = [
                learning_rate(step, steps=steps, peak=1e-3, warmup_ratio=ratio, scheduler="Cosine")
                for step in range(steps)
            ]
            assert all(0 < rate <= 1e-3 for rate in rates)


def test_warm_up_is_rounded_up() -> None:
    assert [warmup_steps(59, 0.1), warmup_steps(6, 0.1), warmup_steps(6, 0.0)] == [6, 1, 0]


def test_a_share_of_each_batch_is_the_datas_own_and_an_epoch_is_a_pass_over_the_others() -> None:
    own = range(100, 106)
    made = schedule(range(9), batch_size=5, epochs=2, seed=0, iteration=1, own=own, own_in_batch=2)
    assert [sum(row in own for row in step) for step in made.steps] == [2] * 6
    assert made.dropped == 0
    for epoch in (made.steps[:3], made.steps[3:]):
        assert sorted(row for step in epoch for row in step if row not in own) == list(range(9))
        assert sorted(row for step in epoch for row in step if row in own) == list(own)
    orders = [[row for step in epoch for row in step if row in own] for epoch in (made.steps[:3], made.steps[3:])]
    assert orders[0] != orders[1]


def test_own_pairs_begin_again_when_they_are_through() -> None:
    made = schedule(range(8), batch_size=4, epochs=1, seed=0, iteration=1, own=[100, 101, 102], own_in_batch=2)
    used = [row for step in made.steps for row in step if row >= 100]
    assert len(used) == 8
    assert {used.count(row) for row in (100, 101, 102)} == {2, 3}


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.001, 1), (0.25, 2), (0.5, 4), (0.999, 7)])
def test_the_share_is_rounded_and_leaves_at_least_one_of_either_kind(share: float, expected: int) -> None:
    training = phase_config(training={"batchSize": 8, "offlineShare": share}).training
    assert own_in_batch(training) == expected
    assert own_in_batch(training.model_copy(update={"pairs": "Offline"})) == 0
