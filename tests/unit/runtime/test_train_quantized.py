"""Adapters on weights of four bits: what is trained is what leaves, and what cannot be is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from selm_runtime.contract import LoraConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train import lora, quantized
from selm_runtime.train import model as models
from selm_runtime.train.packing import pack
from support.train_pairs import make_pairs, padded_sums
from support.train_ranks import train
from support.train_world import TrainWorld

SETTINGS = LoraConfig(rank=4, alpha=8.0, quantization="NF4")
CPU = torch.device("cpu")


def rounded(tiny: Path) -> models.ResponseLogProbs:
    options = quantized.loading_options(SETTINGS, torch.float32, CPU)
    return models.load(tiny, dtype=torch.float32, max_length=64, options=options)


def test_whole_weights_are_those_that_the_adapted_model_multiplies_by(tiny: Path) -> None:
    pairs = make_pairs(4)
    policy = rounded(tiny)
    packed = {name for name, weight in policy.model.named_parameters() if weight.dtype == torch.uint8}
    assert len(packed) == 14  # the linear modules of two layers, not the embeddings and the head
    lora.add_adapters(policy.model, policy.causal_lm.base_model, SETTINGS, dtype=torch.float32, seed=3)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in policy.named_parameters():
        if ".lora_B." in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    weights = {name: quantized.whole(parameter) for name, parameter in policy.model.named_parameters()}
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert sum(map(quantized.elements, rounded(tiny).parameters())) == sum(p.numel() for p in plain.parameters())
    plain.load_state_dict(lora.merged(weights, SETTINGS), strict=True)
    with torch.no_grad():
        ours = (batch := pack(pairs, explored=True)).sums(policy(batch)).chosen
        theirs = padded_sums(plain, [(pair.prompt, pair.chosen) for pair in pairs])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_a_new_adapter_on_rounded_weights_changes_no_bit_and_trains_alone(tiny: Path) -> None:
    batch = pack(make_pairs(4), explored=True)
    policy = rounded(tiny)
    lora.add_adapters(policy.model, policy.causal_lm.base_model, SETTINGS, dtype=torch.float32, seed=3)
    sums = policy(batch)
    assert torch.equal(sums, rounded(tiny)(batch))
    assert not torch.allclose(sums, models.load(tiny, dtype=torch.float32, max_length=64)(batch), atol=1e-2)
    sums.sum().backward()
    having = {name for name, parameter in policy.named_parameters() if parameter.grad is not None}
    assert having == {name for name, _ in policy.named_parameters() if ".lora_" in name}


def test_an_evaluation_leaves_the_weights_as_training_multiplies_by_them(tiny: Path) -> None:
    batch = pack(make_pairs(4), explored=True)
    policy = rounded(tiny)
    before = {name: parameter.clone() for name, parameter in policy.named_parameters()}
    training = policy.train()(batch)
    with torch.no_grad():
        evaluation = policy.eval()(batch)
    assert torch.equal(training, evaluation)
    after = dict(policy.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)


CASES = [(2, "BFloat16"), *(pytest.param(stage, "Float32", marks=pytest.mark.long) for stage in (0, 1, 2))]


@pytest.mark.parametrize(("stage", "precision"), CASES)
def test_ranks_train_on_rounded_weights_resume_and_export_whole_ones(
    stage: int, precision: str, world: TrainWorld, tmp_path: Path
) -> None:
    settings: Mapping[str, Any] = {
        "zeroStage": stage,
        "precision": precision,
        "lora": {"rank": 4, "alpha": 8.0, "quantization": "NF4"},
    }
    name = f"whole-{stage}-{precision}"
    whole = train(world, world.config(name, **settings))
    assert whole.manifest is not None, whole.outcomes
    assert whole.manifest.metrics["preferenceLoss"] == pytest.approx(math.log(2), abs=0.1)
    folder = world.model(world.config(name, **settings), tmp_path / "model")
    assert not hasattr(AutoConfig.from_pretrained(folder), "quantization_config")
    model, base = (load_file(at / "model.safetensors") for at in (folder, world.folder / "base"))
    assert set(model) == set(base)
    assert {weight.dtype for weight in model.values()} == {torch.bfloat16 if precision == "BFloat16" else torch.float32}
    resumed = f"resumed-{stage}-{precision}"
    assert train(world, world.config(resumed, **settings), stop_after=2).codes == [75, 75]
    parts = sorted((world.folder / "store").rglob("*model_states.pt"))
    kept = {name for part in parts for name in torch.load(part, weights_only=False)["module"]}
    assert kept
    assert all(".lora_" in name for name in kept)
    assert train(world, world.config(resumed, attempt=2, **settings)).weights == whole.weights


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"quantization: found NF4 with zeroStage 3; allowed is a zeroStage up to 2"):
        quantized.check_quantization(SETTINGS, 3)
    quantized.check_quantization(SETTINGS, 2)
    monkeypatch.setattr(quantized, "LIBRARY", "no_such_package")
    with pytest.raises(InvalidInput, match=r"found NF4, for which the image has no Python package"):
        quantized.check_quantization(SETTINGS, 2)
    quantized.check_quantization(LoraConfig(), 3)
