"""The reference's table, the first-step anchor, and a step's metrics, on one rank without a process group."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.train import anchor, metrics, reference
from selm_runtime.train.objectives import Sums
from selm_runtime.train.packing import PackedBatch, pack
from selm_runtime.train.pairs import Pair
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.reference import ReferenceTable
from support.train_world import pair_record

CPU = torch.device("cpu")
OBJECTIVE = ObjectiveConfig(type="SELM", alpha=0.1, beta=0.1)


class Together:
    """The ranks of a test that has no process group: their parts are brought together by hand."""

    device = CPU

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def total(self, values: list[float]) -> list[float]:
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
            explored=tuple(record["explored_ids"]),
        )
        for record in records
    }


def first_tokens(batch: PackedBatch) -> Tensor:
    """Stands in for a model: each response's sum is minus the sum of its token ids."""
    sums = torch.zeros(len(batch.lengths))
    return sums.index_add(0, batch.response_of, -batch.targets.float())


def expected(pair: Pair) -> tuple[float, float, float]:
    assert pair.explored is not None
    return (-float(sum(pair.chosen)), -float(sum(pair.rejected)), -float(sum(pair.explored)))


def compute(pairs: dict[int, Pair], rank: int = 0, size: int = 1, **changes: Any) -> ReferenceTable:
    settings: dict[str, Any] = {"explored": True, "max_tokens": 60, "between": lambda *_: None, **changes}
    return reference.compute(first_tokens, pairs, sorted(pairs), ranks=ranks(rank, size), **settings)


def test_every_row_is_run_whatever_the_ranks_and_micro_batches() -> None:
    pairs = make_pairs(7)
    whole = compute(pairs)
    assert dict(whole.sums) == {row: expected(pair) for row, pair in pairs.items()}
    parts: dict[int, Any] = {}
    for rank in range(3):
        parts |= compute(pairs, rank, 3, max_tokens=25).sums
    assert parts == dict(whole.sums)


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
        compute(pairs, rank, 2, max_tokens=25, between=lambda done, total, _rate, calls=calls: calls.append(done))
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
    moved[role][1] += shift * len(getattr(pairs[1], role))
    anchor.check(Sums(**moved), sums, batch, OBJECTIVE, precision)


@pytest.mark.parametrize("role", ["chosen", "rejected", "explored"])
def test_the_anchor_holds_within_its_tolerance_a_token_and_names_the_row_beyond_it(role: str) -> None:
    anchored(0.0, role)
    anchored(5e-3, role, "BFloat16")
    for shift, precision in ((1e-3, "Float32"), (2e-2, "BFloat16"), (math.nan, "Float32")):
        with pytest.raises(InvalidInput, match=rf"{role} response of row 10 .* ln 2"):
            anchored(shift, role, precision)


def test_a_steps_metrics_are_means_over_its_pairs_however_they_were_cut() -> None:
    whole, parts = metrics.StepMean(), metrics.StepMean()
    values = torch.arange(6.0)
    whole.add({"loss": values, "rewardMargin": -values})
    for part in (values[:1], values[1:]):
        parts.add({"loss": part, "rewardMargin": -part})
    assert whole.over(6, ranks()) == parts.over(6, ranks()) == {"loss": 2.5, "rewardMargin": -2.5}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["loss", "gradNorm"])
def test_a_loss_or_gradient_that_is_no_number_ends_the_training(name: str, value: float) -> None:
    metrics.require_finite(3, {"loss": 0.7, "gradNorm": 1.0})
    with pytest.raises(InvalidInput, match=f"{name} is .* step 3"):
        metrics.require_finite(3, {"loss": 0.7, "gradNorm": 1.0, name: value})


def test_the_phases_metrics_are_means_over_steps_and_the_last_loss() -> None:
    history = [{"loss": 0.7, "gradNorm": 2.0, "learningRate": 1.0}, {"loss": 0.5, "gradNorm": 4.0, "learningRate": 0.0}]
    assert metrics.summary(history) == {"loss": pytest.approx(0.6), "gradNorm": 3.0, "lossLast": 0.5}
