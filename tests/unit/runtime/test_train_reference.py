"""The reference's table, the first-step anchor, and a step's metrics, on one rank without a process group."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from selm_runtime.contract import GuardConfig
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.reporting import MOST_METRICS
from selm_runtime.train import anchor, guard, metrics, reference, running
from selm_runtime.train.objectives import Sums
from selm_runtime.train.packing import PackedBatch, pack
from selm_runtime.train.pairs import Pair
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.reference import ReferenceTable
from selm_runtime.train.transfers import Unread
from support.train_world import pair_record

CPU = torch.device("cpu")


class Together:
    """The ranks of a test that has no process group: their parts are brought together by hand."""

    device = CPU

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def total(self, values: list[float]) -> list[float]:
        return values

    def total_on_device(self, values: torch.Tensor) -> torch.Tensor:
        return values


def ranks(rank: int = 0, size: int = 1) -> Ranks:
    return cast(Ranks, Together(rank, size))


def make_pairs(count: int) -> dict[int, Pair]:
    chance = random.Random(5)
    records = [pair_record(10 * row, chance) for row in range(count)]
    return {
        record["row"]: Pair(
            record["row"],
            *(tuple(record[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")),
            explored=(tuple(record["explored_ids"]),),
        )
        for record in records
    }


def first_tokens(batch: PackedBatch) -> Tensor:
    """Stands in for a model: each response's sum is minus the sum of its token ids."""
    sums = torch.zeros(len(batch.lengths))
    return sums.index_add(0, batch.response_of, -batch.targets.float())


def expected(pair: Pair) -> tuple[float, float, tuple[float, ...]]:
    return (-float(sum(pair.chosen)), -float(sum(pair.rejected)), tuple(-float(sum(ids)) for ids in pair.explored))


def compute(pairs: dict[int, Pair], rank: int = 0, size: int = 1, **changes: Any) -> ReferenceTable:
    settings: dict[str, Any] = {"explored": True, "max_tokens": 60, "between": lambda *_: None, **changes}
    forward = settings.pop("forward", first_tokens)
    return reference.compute(forward, pairs, sorted(pairs), ranks=ranks(rank, size), **settings)


def test_every_row_is_run_whatever_the_ranks_and_micro_batches() -> None:
    pairs = make_pairs(7)
    whole = compute(pairs)
    assert dict(whole.sums) == {row: expected(pair) for row, pair in pairs.items()}
    parts: dict[int, Any] = {}
    for rank in range(3):
        parts |= compute(pairs, rank, 3, max_tokens=25).sums
    assert parts == dict(whole.sums)


def test_rounds_that_an_attempt_before_has_run_are_not_run_again() -> None:
    pairs = make_pairs(7)
    plain, ran, kept = compute(pairs, max_tokens=25), list[int](), list[ReferenceTable]()

    def counted(batch: PackedBatch) -> Tensor:
        ran.extend(batch.rows)
        return first_tokens(batch)

    def stop(done: int, total: int, rate: float, so_far: Callable[[], ReferenceTable]) -> None:
        if done >= 3:
            kept.append(so_far())
            raise TemporaryFailure("Preempted", "go")

    with pytest.raises(TemporaryFailure):
        compute(pairs, max_tokens=25, between=stop)
    (before,) = kept
    assert 3 <= len(before.sums) < 7
    table = compute(pairs, max_tokens=25, known=before, forward=counted)
    assert table == plain
    assert sorted(ran) == sorted(pairs.keys() - before.sums.keys())
    ran.clear()
    assert compute(pairs, max_tokens=60, known=table, forward=counted) == plain
    assert ran == []


def test_without_an_exploring_objective_the_explored_response_has_no_log_prob() -> None:
    table = compute(make_pairs(3), explored=False)
    assert all(sums[2] is None for sums in table.sums.values())
    assert table.of([0, 20], CPU).explored is None


def test_rows_are_looked_up_in_the_batchs_order_and_an_unknown_one_is_an_error() -> None:
    pairs = make_pairs(3)
    table = compute(pairs)
    assert table.of([20, 0], CPU).chosen.tolist() == [expected(pairs[20])[0], expected(pairs[0])[0]]
    with pytest.raises(KeyError):
        table.of([99], CPU)


@pytest.mark.parametrize("explored", [True, False])
def test_a_table_passes_through_its_file_and_equal_tables_have_equal_bytes(explored: bool, tmp_path: Path) -> None:
    table = compute(make_pairs(5), explored=explored)
    table.write(tmp_path / "a.parquet")
    ReferenceTable(dict(reversed(table.sums.items()))).write(tmp_path / "b.parquet")
    assert ReferenceTable.read(tmp_path / "a.parquet") == table
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_each_rank_is_asked_equally_often_and_a_request_to_go_ends_the_pass() -> None:
    pairs = make_pairs(7)
    asked: list[list[int]] = []
    for rank in range(2):
        calls: list[int] = []
        compute(pairs, rank, 2, max_tokens=25, between=lambda done, *_, calls=calls: calls.append(done))
        asked.append(calls)
    assert asked[0] == asked[1]
    assert asked[0][-1] == 7

    def go(*_: object) -> None:
        raise TemporaryFailure("Preempted", "go")

    with pytest.raises(TemporaryFailure):
        compute(pairs, between=go)


def anchored(shift: float, role: str, precision: str = "Float32") -> None:
    pairs = list(make_pairs(3).values())
    batch = pack(pairs, explored=True)
    sums = batch.sums(first_tokens(batch))
    moved = {name: getattr(sums, name).clone() for name in ("chosen", "rejected", "explored")}
    response = pairs[1].explored[0] if role == "explored" else getattr(pairs[1], role)
    moved[role][1] += shift * len(response)
    anchor.check(Sums(**moved), sums, batch, precision)


@pytest.mark.parametrize("role", ["chosen", "rejected", "explored"])
def test_the_anchor_holds_within_its_tolerance_a_token_and_names_the_row_beyond_it(role: str) -> None:
    anchored(0.0, role)
    anchored(5e-3, role, "BFloat16")
    for shift, precision in ((1e-3, "Float32"), (2e-2, "BFloat16"), (math.nan, "Float32")):
        with pytest.raises(InvalidInput, match=rf"{role} response of row 10 .* ln 2"):
            anchored(shift, role, precision)


def read(mean: metrics.StepMean) -> dict[str, float]:
    unread = Unread()
    unread.add(mean.over(ranks()))
    (found,) = unread.read()
    return found


def test_several_steps_are_read_at_once_in_their_order_each_with_what_it_has() -> None:
    unread = Unread()
    for step in range(3):
        mean = metrics.StepMean()
        mean.add({"loss": torch.full((2,), float(step)), **({"extra": torch.ones(1)} if step == 1 else {})})
        unread.add(mean.over(ranks(), gradNorm=torch.tensor(0.1 * step), learningRate=0.5))
    assert not unread.many
    rest = {"learningRate": 0.5}
    assert unread.read() == [
        {"loss": 0.0, "gradNorm": 0.0, **rest},
        {"loss": 1.0, "extra": 1.0, "gradNorm": float(torch.tensor(0.1)), **rest},
        {"loss": 2.0, "gradNorm": float(torch.tensor(0.2)), **rest},
    ]
    assert unread.read() == []


def test_a_steps_metrics_are_means_over_its_pairs_however_they_were_cut() -> None:
    whole, parts = metrics.StepMean(), metrics.StepMean()
    values = torch.arange(6.0)
    whole.add({"loss": values, "rewardMargin": -values})
    for part in (values[:1], values[1:]):
        parts.add({"loss": part, "rewardMargin": -part})
    assert read(whole) == read(parts) == {"loss": 2.5, "rewardMargin": -2.5}


def test_a_metric_of_some_pairs_is_averaged_over_those_and_absent_where_there_are_none() -> None:
    mean, none = metrics.StepMean(), metrics.StepMean()
    mean.add({"loss": torch.ones(3), "exploredLogRatio": torch.tensor([4.0])})
    mean.add({"loss": torch.ones(1), "exploredLogRatio": torch.tensor([2.0, 3.0])})
    assert read(mean) == {"loss": 1.0, "exploredLogRatio": 3.0}
    none.add({"loss": torch.ones(3), "exploredLogRatio": torch.zeros(0)})
    assert read(none) == {"loss": 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["loss", "gradNorm"])
def test_a_loss_or_gradient_that_is_no_number_ends_the_training(name: str, value: float) -> None:
    metrics.require_finite(3, {"loss": 0.7, "gradNorm": 1.0})
    with pytest.raises(InvalidInput, match=f"{name} is .* step 3"):
        metrics.require_finite(3, {"loss": 0.7, "gradNorm": 1.0, name: value})


def test_the_phases_metrics_are_means_over_steps_and_the_last_loss() -> None:
    history = [{"loss": 0.7, "gradNorm": 2.0, "learningRate": 1.0}, {"loss": 0.5, "gradNorm": 4.0, "learningRate": 0.0}]
    assert metrics.summary(history) == {
        "loss": pytest.approx(0.6),
        "gradNorm": 3.0,
        "lossLast": 0.5,
        "gradNormLast": 4.0,
        "learningRateLast": 0.0,
    }


def test_the_status_has_room_for_what_a_training_tells_and_for_the_last_steps_values() -> None:
    """An objective with all the metrics there are: others have fewer."""
    step = dict.fromkeys([*metrics.REPORTED, *metrics.LAST, "optimism", "targetMargin"], 1.0)
    manifest = metrics.summary([step, dict.fromkeys(step, 2.0)])
    rates = dict.fromkeys(("tokensPerSecond", "pairsPerSecond", "mfu", "memoryGiB"), 3.0)
    told = metrics.told(manifest, rates)
    assert set(metrics.TOLD) <= manifest.keys()
    assert max(len(manifest), len(told)) <= MOST_METRICS
    assert {told[f"{name}Last"] for name in ("loss", "rewardMargin", "rewardChosen", "exploredLogRatio")} == {2.0}
    assert told["rewardMargin"] == 1.5
    assert rates.items() <= told.items()


def test_the_phases_metrics_say_how_far_the_explored_responses_fell_at_worst() -> None:
    history = [{"loss": 0.7, "exploredLogRatio": value} for value in (-1.0, -7.0, -4.0)] + [{"loss": 0.7}]
    found = metrics.summary(history)
    assert (found["exploredLogRatio"], found["exploredLogRatioLowest"]) == (-4.0, -7.0)


@pytest.mark.parametrize(
    ("limit", "ratio", "told", "warns"),
    [
        (None, -99.0, False, 0.0),
        (None, -101.0, True, 1.0),
        (10.0, -4.0, False, 0.0),
        (10.0, -6.0, True, 0.0),
        (1000.0, -101.0, True, 1.0),
    ],
)
def test_the_guard_warns_in_the_metrics_whatever_its_limit_and_tells_at_half_of_it(
    limit: float | None, ratio: float, told: bool, warns: float
) -> None:
    step, limits = {"exploredLogRatio": ratio}, GuardConfig(max_log_ratio=limit)
    assert guard.is_worth_telling(step, limits) == told
    assert guard.watch(0, step, limits) == {"exploredWarning": warns}


def test_the_guard_stops_beyond_its_limit_and_has_nothing_to_say_without_exploring() -> None:
    limits = GuardConfig(max_log_ratio=10.0)
    guard.watch(3, {"exploredLogRatio": -10.0}, limits)
    assert guard.watch(3, {"exploredLogRatio": 50.0}, limits) == {"exploredWarning": 0.0}
    assert guard.watch(3, {"loss": 0.7}, limits) == {}
    with pytest.raises(InvalidInput, match=r"step 3 .* 10\.1 nats below .*maxLogRatio allows 10") as failure:
        guard.watch(3, {"exploredLogRatio": -10.1}, limits)
    assert failure.value.reason == "ExploredLogRatio"


def test_the_guard_watches_the_responses_that_are_lowered_in_the_explored_ones_place() -> None:
    limits = GuardConfig(max_log_ratio=10.0)
    assert guard.watch(3, {"loweredLogRatio": -9.0}, limits) == {"exploredWarning": 0.0}
    assert guard.is_worth_telling({"loweredLogRatio": -9.0}, limits)
    with pytest.raises(InvalidInput, match="the responses that the objective lowers is 11 nats below"):
        guard.watch(3, {"loweredLogRatio": -11.0}, limits)


def test_several_explored_responses_and_none_pass_through_the_table() -> None:
    pairs = make_pairs(3)
    one, two = pairs[0], pairs[10]
    pairs[0] = replace(one, explored=(one.chosen, one.rejected, *one.explored))
    pairs[10] = replace(two, explored=(), online=False)
    table = compute(pairs)
    assert dict(table.sums) == {row: expected(pair) for row, pair in pairs.items()}
    found = table.of([0, 10, 20], CPU).explored
    assert found is not None
    assert found.tolist() == [*expected(pairs[0])[2], *expected(pairs[20])[2]]
    none = table.of([10], CPU).explored
    assert none is not None
    assert none.shape == (0,)


def figures(values: list[list[float]]) -> dict[str, float]:
    """A step's own figures, of values that lie on several ranks."""

    class Apart(Together):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [torch.tensor(part, dtype=torch.float64) for part in values]
            self.asked = 0

        def total_on_device(self, _: Tensor) -> Tensor:
            self.asked += 1
            whole = torch.cat(self.parts)
            if self.asked == 1:
                return torch.stack([whole.sum(), torch.tensor(float(len(whole)), dtype=torch.float64)])
            return (whole - whole.mean()).square().sum()

    seen = running.Observations([], CPU).observe(torch.tensor(values[0]), cast(Ranks, Apart())).metrics
    return {name: float(value) for name, value in seen.items()}


def test_running_figures_are_of_the_whole_step_wherever_its_pairs_are() -> None:
    one, two = figures([[1.0, 2.0, 4.0, 7.0]]), figures([[4.0, 1.0], [7.0, 2.0]])
    assert one == two
    assert one["observedMean"] == 3.5
    assert one["observedDeviation"] == pytest.approx(torch.tensor([1.0, 2.0, 4.0, 7.0]).std().item())
    assert figures([[3.0]]) == {"observedMean": 3.0, "observedDeviation": 0.0}


def test_running_figures_are_those_of_the_first_step_and_decay_by_a_tenth_a_step() -> None:
    observations = running.Observations([], CPU)
    expected_mean = expected_weight = 0.0
    history: list[dict[str, float]] = []
    for mean in (2.0, -1.0, 5.0, 0.5):
        expected_mean = 0.9 * expected_mean + 0.1 * mean  # the published update, from 0
        expected_weight = 0.9 * expected_weight + 0.1
        seen = observations.observe(torch.tensor([mean - 1.0, mean + 1.0]), ranks())
        assert float(seen.figures.mean) == pytest.approx(expected_mean / expected_weight)
        assert float(seen.figures.deviation) == pytest.approx(math.sqrt(2.0))
        resumed = running.Observations(history, CPU).observe(torch.tensor([mean - 1.0, mean + 1.0]), ranks())
        assert resumed.figures == seen.figures  # to the bit
        history.append({name: float(value) for name, value in seen.metrics.items()})
