"""Compiled layers: the numbers of plain ones, nothing compiled after the first passes, and nothing left behind by those.

Compiling takes a CPU some ten seconds a length of packs, so most combinations are `long`. Kernels are kept for the whole
module, as those of a node's pods are.
"""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaMLP

from selm_runtime.contract import LoraConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train import compiled, lora, quantized
from selm_runtime.train import model as models
from selm_runtime.train.dropout import Masks
from selm_runtime.train.model import ResponseLogProbs
from selm_runtime.train.packing import PackSizes, pack
from support.rank_patches import without_memory
from support.train_adapters import trained
from support.train_pairs import make_pairs
from support.train_ranks import Ended, train
from support.train_world import TrainWorld

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU"),
    pytest.mark.timeout(1200),
]

CACHE = "TORCHINDUCTOR_CACHE_DIR"
LENGTH = 128
PAIRS = make_pairs(7)
MICRO_BATCHES = (PAIRS[:2], PAIRS[2:5], PAIRS[5:])
ONE_LENGTH = {"maxTokensPerMicroBatch": 4096}
"""All packs of the test's pairs have the same length then."""
SEVERAL = {"maxTokensPerMicroBatch": 768}


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the module's kernels are kept; what this process holds of them goes with the module."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder))
        yield folder
    torch.compiler.reset()


def loaded(
    tiny: Path, masks: Masks, *, dtype: torch.dtype, adapters: LoraConfig | None, anew: bool
) -> ResponseLogProbs:
    policy = models.load(
        tiny, dtype=dtype, max_length=64, options=quantized.loading_options(adapters, dtype, torch.device("cpu"))
    )
    if adapters is not None:
        lora.add_adapters(policy.model, policy.causal_lm.base_model, adapters, dtype=dtype, seed=3)
        lora.add_dropout(policy, adapters, masks)
        trained(policy)
    if anew:
        models.enable_checkpointing_if_needed(policy, tokens=1000, budget=0)
    return policy.eval()


def passes(policy: ResponseLogProbs, masks: Masks) -> tuple[Tensor, Tensor, Tensor]:
    """Sums without gradients, sums in training, and the gradient of the latter, over micro-batches of one length."""
    without, within = [], []
    for step, micro in enumerate(MICRO_BATCHES):
        batch = pack(micro, explored=True).filled(PackSizes(LENGTH))
        assert batch.tokens == LENGTH
        with torch.no_grad():
            without.append(policy.eval()(batch))
        masks.of(step, batch)
        sums = policy.train()(batch)
        sums.sum().backward()
        within.append(sums.detach())
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    return torch.cat(without), torch.cat(within), gradient.double()


def graphs() -> int:
    import torch._dynamo.utils as dynamo

    return int(dynamo.counters["stats"]["unique_graphs"])


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "activations computed anew": {"anew": True},
    "bf16": {"dtype": torch.bfloat16},
    "adapters": {"adapters": LoraConfig(rank=4, alpha=8.0)},
    "adapters with dropout, anew": {"adapters": LoraConfig(rank=4, alpha=8.0, dropout=0.3), "anew": True},
    "adapters on four-bit weights": {"adapters": LoraConfig(rank=4, alpha=8.0, quantization="NF4")},
}


@pytest.mark.parametrize("kind", ["plain", *(pytest.param(kind, marks=pytest.mark.long) for kind in list(KINDS)[1:])])
def test_compiled_layers_give_the_numbers_of_plain_ones_and_are_compiled_once(kind: str, tiny: Path) -> None:
    how = {"dtype": torch.float32, "adapters": None, "anew": False, **KINDS[kind]}
    masks = Masks(7, 1)
    expected = passes(loaded(tiny, masks, **how), masks)
    policy = loaded(tiny, masks, **how)
    before, random_state = {n: p.clone() for n, p in policy.named_parameters()}, torch.get_rng_state()
    compiled.compile_layers(policy, [LENGTH], masks=masks)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not policy.training
    for name, parameter in policy.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name]), name
    met = graphs()
    assert met > 0
    found = passes(policy, masks)
    assert graphs() == met
    for own, other in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=0)
    assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5
    if how["adapters"] is None:  # the anchor of the first step
        tokens = torch.cat([pack(micro, explored=True).lengths for micro in MICRO_BATCHES])
        assert float(((found[0] - found[1]).abs() / tokens).max()) < 1e-6
    gone = weakref.ref(policy.model)
    del policy, parameter
    gc.collect()
    assert gone() is None  # a reference of its own is freed before the policy is loaded


def trained_by(world: TrainWorld, kept: Path, name: str, *, ranks: int = 2, attempt: int = 1, **settings: Any) -> Ended:
    options = {key: settings.pop(key) for key in ("stop_after", "patched") if key in settings}
    config = world.config(name, attempt=attempt, **{"compile": True, **settings})
    return train(world, config, ranks=ranks, **options, **{CACHE: str(kept)})


def assert_same_figures(ended: Ended, expected: Ended) -> None:
    assert ended.manifest is not None, ended.outcomes
    assert expected.manifest is not None, expected.outcomes
    for name, tolerance in (("loss", 1e-6), ("lossLast", 1e-6), ("exploredLogRatio", 2e-5), ("rewardMargin", 1e-5)):
        assert ended.manifest.metrics[name] == pytest.approx(expected.manifest.metrics[name], abs=tolerance), name


@pytest.mark.parametrize("stage", [2, *(pytest.param(stage, marks=pytest.mark.long) for stage in (0, 1))])
def test_two_ranks_train_as_without_compiling_and_go_on_where_they_were_stopped(
    stage: int, world: TrainWorld, kept: Path
) -> None:
    settings = {"zeroStage": stage, **ONE_LENGTH}
    plain = train(world, world.config(f"plain-{stage}", **settings))
    name = f"stopped-{stage}"
    assert trained_by(world, kept, name, stop_after=2, **settings).codes == [75, 75]
    assert_same_figures(trained_by(world, kept, name, attempt=2, **settings), plain)


@pytest.mark.long
@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        (0, {}),
        (2, SEVERAL),
        (2, {"precision": "BFloat16"}),
        (2, {"lora": {"rank": 4, "alpha": 8.0, "dropout": 0.3}}),
        (2, {"offload": {"optimizer": "CPU"}}),
    ],
    ids=["stage 0", "several lengths", "bf16", "dropout", "offloaded"],
)
def test_a_resumed_training_ends_with_the_bytes_of_an_undisturbed_one(
    stage: int, settings: dict[str, Any], world: TrainWorld, kept: Path, request: pytest.FixtureRequest
) -> None:
    settings = {"zeroStage": stage, **ONE_LENGTH, **settings}
    name = request.node.callspec.id.replace(" ", "-")
    whole = trained_by(world, kept, f"whole-{name}", **settings)
    assert whole.manifest is not None, whole.outcomes
    assert trained_by(world, kept, f"parts-{name}", stop_after=2, **settings).codes == [75, 75]
    resumed = trained_by(world, kept, f"parts-{name}", attempt=2, **settings)
    assert resumed.manifest is not None, resumed.outcomes
    assert resumed.manifest.content_digest == whole.manifest.content_digest


@pytest.mark.long
def test_ranks_micro_batches_and_lengths_do_not_change_the_loss(world: TrainWorld, kept: Path) -> None:
    plain = train(world, world.config("plain", **SEVERAL))
    assert_same_figures(trained_by(world, kept, "one-rank", ranks=1, **SEVERAL), plain)
    assert_same_figures(trained_by(world, kept, "pair-by-pair", maxTokensPerMicroBatch=1), plain)
    assert_same_figures(trained_by(world, kept, "anew", patched=without_memory, **SEVERAL), plain)


@pytest.mark.long
def test_a_reference_of_its_own_runs_through_compiled_layers_too(world: TrainWorld, kept: Path) -> None:
    settings = {"iteration": 2, "reference": "Initial", "learningRate": 1e-4, **ONE_LENGTH}
    plain = train(world, world.config("initial-plain", **settings))
    assert_same_figures(trained_by(world, kept, "initial", **settings), plain)


@pytest.mark.long
def test_pods_keep_kernels_for_the_next_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE)
    world = TrainWorld(tmp_path / "pods")
    settings = {"compile": True, "checkpoint": {"intervalSeconds": 0, "keep": 2}, **ONE_LENGTH}
    (first,) = world.run_pods(world.config("pods", **settings), faults="Training:step-done:2")
    assert first.process.returncode not in (0, 64), first.log.read_text()
    (folder,) = (world.folder / "cache").glob("kept-*/inductor")
    kernels = set(folder.rglob("*.so"))
    assert kernels
    (second,) = world.run_pods(world.config("pods", attempt=2, **settings))
    assert second.process.returncode == 0, second.log.read_text()
    assert set(folder.rglob("*.so")) == kernels


class Elsewhere(nn.Module):
    """A decoder of modules that transformers does not know."""

    class config:
        @staticmethod
        def get_text_config() -> Any:
            return type("Config", (), {"model_type": "elsewhere"})


def test_a_model_whose_layers_cannot_be_told_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"training\.compile: found true, but elsewhere has no layers"):
        compiled.decoder_layers(ResponseLogProbs(Elsewhere()))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are traced into graphs, which then run as they are: no kernels, and a fraction of the time."""
    compile_module = nn.Module.compile

    def trace(module: nn.Module, *, dynamic: bool, recompile_limit: int, options: object) -> None:
        compile_module(module, backend="eager", dynamic=dynamic, recompile_limit=recompile_limit)

    monkeypatch.setattr(nn.Module, "compile", trace)


@pytest.mark.parametrize("dropout", [None, pytest.param(0.3, marks=pytest.mark.long)], ids=["plain", "adapters"])
def test_every_length_has_its_graphs_and_none_is_made_twice(dropout: float | None, traced: None, tiny: Path) -> None:
    adapters = LoraConfig(rank=4, alpha=8.0, dropout=dropout) if dropout else None
    lengths = [16, 48, 80, 112, LENGTH]  # more graphs of one piece of code than torch would make unasked
    counts = []
    for some in (lengths[:1], lengths):
        torch.compiler.reset()
        masks = Masks(7, 1)
        policy = loaded(tiny, masks, dtype=torch.float32, adapters=adapters, anew=True)
        before = graphs()
        compiled.compile_layers(policy, some, masks=masks)
        counts.append(graphs() - before)
    assert counts[1] == len(lengths) * counts[0]
    met = graphs()
    passes(policy, masks)
    assert graphs() == met


def test_a_second_model_of_the_same_shape_finds_the_graphs_of_the_first(traced: None, tiny: Path) -> None:
    masks = Masks(7, 1)
    first, second = (loaded(tiny, masks, dtype=torch.float32, adapters=None, anew=False) for _ in range(2))
    compiled.compile_layers(first, [LENGTH], masks=masks)
    met = graphs()
    compiled.compile_layers(second, [LENGTH], masks=None)
    assert graphs() == met


def test_layers_that_compile_anew_for_other_tokens_are_refused(
    traced: None, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = LlamaMLP.forward

    def by_tokens(self: LlamaMLP, x: Tensor) -> Tensor:
        return forward(self, x) * (1.0 + 1e-3 * int((x[0, :, 0] > 0).sum()))

    monkeypatch.setattr(LlamaMLP, "forward", by_tokens)
    torch.compiler.reset()  # whoever has met several numbers there makes one graph for all of them
    masks = Masks(7, 1)
    policy = loaded(tiny, masks, dtype=torch.float32, adapters=None, anew=False)
    with pytest.raises(InvalidInput, match=r"training\.compile: found true, but the layers of llama compile anew"):
        compiled.compile_layers(policy, [LENGTH], masks=masks)
