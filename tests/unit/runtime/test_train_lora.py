"""Adapters: the base to the bit before the first step, the adapted policy to rounding once merged;"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from selm_runtime.contract import LoraConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train import lora, probe
from selm_runtime.train import model as models
from selm_runtime.train.model import ResponseLogProbs
from selm_runtime.train.packing import pack
from support.train_adapters import SETTINGS, adapted, trained
from support.train_pairs import make_pairs, padded_sums
from support.train_ranks import Ended, train
from support.train_world import TrainWorld

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def weights_of(policy: ResponseLogProbs) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in policy.model.named_parameters()}


def test_a_new_adapter_changes_no_bit_and_trains_alone(tiny: Path) -> None:
    batch = pack(make_pairs(4), explored=True)
    base = models.load(tiny, dtype=torch.float32, max_length=64)
    policy = adapted(tiny)
    sums = policy(batch)
    assert torch.equal(sums, base(batch))
    sums.sum().backward()
    having = {name for name, parameter in policy.named_parameters() if parameter.grad is not None}
    assert having
    assert having == {name for name, _ in policy.named_parameters() if ".lora_" in name}
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in having} == LINEAR


def test_equal_seeds_give_equal_adapters(tiny: Path) -> None:
    one, same, other = (weights_of(adapted(tiny, seed=seed)) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_merged_weights_are_a_plain_model_that_says_what_the_adapted_one_says(tiny: Path) -> None:
    pairs = make_pairs(4)
    policy = trained(adapted(tiny))
    merged = lora.merged(weights_of(policy), SETTINGS)
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert set(merged) == {name for name, _ in plain.named_parameters()}
    before = padded_sums(plain, [(pair.prompt, pair.chosen) for pair in pairs])
    plain.load_state_dict(merged, strict=False)
    with torch.no_grad():
        ours = (batch := pack(pairs, explored=True)).sums(policy(batch)).chosen
        theirs = padded_sums(plain, [(pair.prompt, pair.chosen) for pair in pairs])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    assert float((before - theirs).detach().abs().max()) > 0.1


def test_the_saved_adapter_is_one_that_peft_loads(tiny: Path, tmp_path: Path) -> None:
    import peft

    policy = trained(adapted(tiny))
    lora.save_adapter(weights_of(policy), policy.causal_lm.base_model, SETTINGS, tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().state_dict()
    for name, weight in lora.merged(weights_of(policy), SETTINGS).items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (LoraConfig(target_modules=("q_proj", "nonsense")), "targetModules: found nonsense; allowed"),
        (LoraConfig(target_modules=("input_layernorm",)), "which there are: down_proj, gate"),
    ],
)
def test_what_cannot_be_is_refused(settings: LoraConfig, says: str, tiny: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        adapted(tiny, settings)


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.long), 3])
def stage(request: pytest.FixtureRequest) -> int:
    """The ZeRO stage; test_train_quantized.py trains adapters at stage 2."""
    return int(request.param)


@pytest.fixture(scope="module")
def undisturbed(world: TrainWorld, stage: int) -> Ended:
    """Two ranks."""
    return train(world, world.config(f"lora-{stage}", **settings_of(stage)))


def settings_of(stage: int) -> dict[str, Any]:
    return {"zeroStage": stage, "lora": {"rank": 4, "alpha": 8.0, "export": "Adapter"}}


def test_ranks_train_adapters_and_export_a_whole_model_with_the_adapter(
    stage: int, world: TrainWorld, undisturbed: Ended, tmp_path: Path
) -> None:
    import peft

    manifest = undisturbed.manifest
    assert manifest is not None, undisturbed.outcomes
    folder = world.phase_folder(world.config(f"lora-{stage}", **settings_of(stage)))
    for part in ("model", "adapter"):
        folder.fetch(manifest, f"{part}/", tmp_path / part)
    plain = AutoModelForCausalLM.from_pretrained(world.folder / "base", dtype=torch.float32)
    base = {name: weight.clone() for name, weight in plain.state_dict().items()}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).state_dict()
    changed = {name.rsplit(".", 2)[-2] for name in base if not torch.equal(base[name], model[name])}
    assert changed == LINEAR
    beside = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().state_dict()
    for name, weight in model.items():
        torch.testing.assert_close(beside[name], weight, rtol=1e-6, atol=1e-6)
    assert manifest.metrics["preferenceLoss"] == pytest.approx(math.log(2), abs=0.1)
    assert manifest.metrics["gradNorm"] > 0


def test_a_resumed_training_of_adapters_ends_as_the_undisturbed_one_and_its_checkpoint_has_no_frozen_weights(
    stage: int, world: TrainWorld, undisturbed: Ended
) -> None:
    config = world.config(f"resumed-{stage}", **settings_of(stage))
    assert train(world, config, stop_after=2).codes == [75, 75]
    folder = world.phase_folder(config)
    parts = [info for info in folder.store.list(f"{folder.place}/") if info.key.endswith("model_states.pt")]
    assert parts
    frozen = (world.folder / "base" / "model.safetensors").stat().st_size
    assert sum(part.size for part in parts) < frozen / 3
    ended = train(world, world.config(f"resumed-{stage}", attempt=2, **settings_of(stage)))
    expected = undisturbed.manifest
    assert ended.manifest is not None, ended.outcomes
    assert expected is not None
    assert ended.manifest.content_digest == expected.content_digest
    assert ended.manifest.metrics == expected.metrics


def test_recomputing_activations_changes_no_bit_of_an_adapters_gradient(tiny: Path) -> None:
    batch = pack(make_pairs(4), explored=True)
    found = []
    for recompute in (False, True):
        policy = trained(adapted(tiny)).train()
        if recompute:
            assert models.enable_checkpointing_if_needed(policy, batch.tokens, 0)
        policy(batch).sum().backward()
        found.append([parameter.grad for parameter in policy.parameters() if parameter.grad is not None])
    assert len(found[0]) == len(found[1]) > 0
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_target_modules_are_checked_by_the_configuration_alone(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny / "config.json").read_bytes())
    shapes = probe.by_shapes(tmp_path, max_length=64)
    assert shapes is not None
    decoder = shapes.causal_lm.base_model
    lora.check_targets(decoder, LoraConfig(target_modules=("q_proj", "mlp.down_proj")))
    with pytest.raises(InvalidInput, match="found wqkv; allowed are names of linear modules of the decoder"):
        lora.check_targets(decoder, LoraConfig(target_modules=("q_proj", "wqkv")))
