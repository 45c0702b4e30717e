"""Packs that are filled up to a few lengths: which lengths, and that nothing comes from the tail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selm_runtime.contract import TrainingConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train import batches, compiled, compiler, launch, reference
from selm_runtime.train import model as models
from selm_runtime.train.packing import AS_THEY_ARE, PackedBatch, PackSizes, pack
from support.phase_configs import phase_config
from support.train_pairs import make_pairs
from support.train_ranks import train
from support.train_world import TrainWorld


def training(**settings: Any) -> TrainingConfig:
    return phase_config(training={"zeroStage": 2, "compile": True, **settings}).training


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(3, 400), min_size=4, max_size=40).filter(lambda found: len(found) % 2 == 0),
    st.integers(1, 2000),
    st.sampled_from([1, 2]),
)
def test_there_are_few_lengths_and_every_pack_has_one_of_them(lengths: list[int], limit: int, ranks: int) -> None:
    tokens = dict(enumerate(lengths))
    rows = sorted(tokens)
    plans = [batches.plan_step(rows, tokens, ranks=ranks, max_tokens=limit)]
    packing = compiled.Packing.of(training(maxTokensPerMicroBatch=limit), tokens, plans, rows, ranks)
    assert len(packing.lengths) <= compiled.SIZES
    assert all(length % compiled.ALIGNED == 0 for length in packing.lengths)
    longest = max(limit, *lengths)
    packs = [*plans, reference.plan_of(rows, tokens, ranks=ranks, max_tokens=limit)]
    for held in (sum(tokens[row] for row in micro) for plan in packs for share in plan for micro in share):
        filled = packing.sizes.of(held)
        assert filled in packing.lengths
        assert 0 <= filled - held < longest / compiled.SIZES + compiled.ALIGNED


def test_packs_stay_as_they_are_where_nothing_is_compiled() -> None:
    packing = compiled.Packing.of(training(compile=False), {0: 7, 1: 9}, [[[[0, 1]]]], [0, 1], 1)
    assert packing.sizes == AS_THEY_ARE
    batch = pack(make_pairs(2), explored=True)
    assert batch.filled(packing.sizes) is batch
    assert batch.tail == 0


def sums_and_gradient(tiny: Path, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    policy = models.load(tiny, dtype=torch.float32, max_length=64)
    sums = policy(batch)
    sums.sum().backward()
    return sums.detach(), torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


def test_values_and_gradients_of_a_filled_pack_are_those_of_the_pack_whatever_the_tail_holds(tiny: Path) -> None:
    batch = pack(make_pairs(5), explored=True)
    filled = batch.filled(PackSizes(64))
    assert filled.tail > 0
    assert filled.tokens % 64 == 0
    sums, gradient = sums_and_gradient(tiny, filled)
    ids = filled.input_ids.clone()
    ids[:, batch.tokens :] = 9
    others = sums_and_gradient(tiny, replace(filled, input_ids=ids))
    assert torch.equal(others[0], sums)
    assert torch.equal(others[1], gradient)
    expected = sums_and_gradient(tiny, batch)  # of other shapes: sums may be made in another order
    torch.testing.assert_close(sums, expected[0], rtol=1e-6, atol=0)
    assert float((gradient - expected[1]).norm() / expected[1].norm()) < 1e-6


# What compiling needs


def test_zero_3_and_a_missing_compiler_are_refused_by_the_field(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidInput, match=r"training\.compile: found true with zeroStage 3; allowed with zeroStage up to 2"
    ):
        compiler.check_compile(training(zeroStage=3), on_gpu=False)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for on_gpu, names in (
        (False, r"C\+\+ compiler \(looked for g\+\+"),
        (True, r"C compiler \(looked for gcc, clang, cc"),
    ):
        with pytest.raises(InvalidInput, match=rf"training\.compile: found true, but the image has no {names}"):
            compiler.check_compile(training(), on_gpu=on_gpu)
        compiler.check_compile(training(compile=False, zeroStage=3), on_gpu=on_gpu)
    executable(tmp_path / "gcc")
    compiler.check_compile(training(), on_gpu=True)
    with pytest.raises(InvalidInput, match=r"no C\+\+ compiler"):
        compiler.check_compile(training(), on_gpu=False)
    executable(tmp_path / "clang++")
    monkeypatch.setenv("CXX", "clang++")
    compiler.check_compile(training(), on_gpu=False)


def executable(path: Path) -> None:
    path.write_text("")
    path.chmod(0o755)


def test_a_training_without_a_compiler_ends_before_there_are_ranks(
    world: TrainWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(launch, "bring_pairs", None)  # it does not come so far
    with pytest.raises(InvalidInput) as caught:
        train(world, world.config("no-compiler", compile=True), ranks=1)
    assert caught.value.reason == "NoCompiler"
