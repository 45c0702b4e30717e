"""Only what packing computes as transformers does is trained: architectures are refused by config, by shapes, by values."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from selm_runtime.errors import InvalidInput
from selm_runtime.train import attention
from selm_runtime.train import model as models
from selm_runtime.train.architecture import check_architecture, silence
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair
from selm_runtime.train.probe import by_shapes, check_packing

CPU = torch.device("cpu")
MAX_LENGTH = 64
SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "partial_rotary_factor": 1.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 32,
}


def made(into: Path, kind: str, **changes: Any) -> Path:
    """A model folder with random weights of a scale at which everything in the architecture shows."""
    config = transformers.CONFIG_MAPPING[kind]
    fields = {name for name in SMALL | EXPERTS if hasattr(config(), name)}
    settings = {name: value for name, value in (SMALL | EXPERTS).items() if name in fields} | changes
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config(**deepcopy(settings)), dtype=torch.float32
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(into)
    return into


def loaded(folder: Path) -> models.ResponseLogProbs:
    return models.load(folder, dtype=torch.float32, max_length=MAX_LENGTH)


FIT: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"]},
    "olmo2": {},
    "phi": {},
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2},
    "mixtral": {},
    # Dropout that is no module, by a name of its own.
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.3},
    "seed_oss": {"residual_dropout": 0.3},
}


@pytest.mark.parametrize("kind", FIT)
def test_what_is_trained_is_what_transformers_computes_and_the_same_in_training(kind: str, tmp_path: Path) -> None:
    folder = made(tmp_path, kind, **FIT[kind])
    by_shapes(folder, max_length=MAX_LENGTH)
    policy = loaded(folder)
    check_packing(policy, CPU)
    pair = Pair(0, (3, 5, 7), (4, 6, 9, 11), (8, 10))
    stock: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stock.eval()
    with torch.no_grad():
        expected = []
        for response in pair.responses:
            ids = torch.tensor([pair.prompt + response])
            every = stock(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
            expected.append(every[len(pair.prompt) - 1 :].sum())
        found = policy.train()(pack([pair], explored=False))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-4)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "gpt_oss": ({}, "asks for s_aux"),
    "doge": ({}, "asks for attention_mask"),
    "vaultgemma": ({"final_logit_softcapping": None}, "asks for softcap"),
    "bert": ({"is_decoder": False}, "asks for sight of later tokens"),
    "stablelm": ({}, "stablelm cannot be run packed"),
    "gptj": ({"n_embd": 32, "n_head": 4, "n_layer": 2, "rotary_dim": 4}, "gptj cannot be run packed"),
    "bloom": ({"n_head": 4, "n_layer": 2}, "bloom has attention of its own"),
    "modernbert-decoder": ({"local_attention": 32}, "sliding attention window"),
    "phi3": (
        {"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 32},
        "allowed with phi3 are at most 32",
    ),
    "gemma2": ({}, "final_logit_softcapping"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_would_be_computed_differently_is_refused_before_any_weight_is_there(kind: str, tmp_path: Path) -> None:
    changes, says = UNFIT[kind]
    with pytest.raises(InvalidInput, match=says) as refused:
        by_shapes(made(tmp_path, kind, **changes), max_length=MAX_LENGTH)
    assert refused.value.reason == "UnsupportedModel"


@pytest.mark.parametrize("kind", ["gpt_oss", "doge", "bert", "stablelm", "gptj", "bloom"])
def test_the_trainer_refuses_the_same_by_itself(kind: str, tmp_path: Path) -> None:
    changes, says = UNFIT[kind]
    folder = made(tmp_path, kind, **changes)
    with pytest.raises(InvalidInput, match=says):
        check_packing(loaded(folder), CPU)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"logits_scaling": 8.0}, "logits_scaling"),
        ({"sliding_window": 32}, "sliding attention window"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "has layers of linear_attention"),
        ({"max_position_embeddings": 32}, "32 positions"),
        ({"router_jitter_noise": 0.01}, "router_jitter_noise=0.01; training needs a router without noise"),
        ({"rope_parameters": LONG_ROPE}, "found 64, allowed with llama are at most 32"),
    ],
)
def test_config_fields_that_packing_would_not_obey_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_architecture(LlamaConfig(**deepcopy({**SMALL, **change})), MAX_LENGTH)


def test_a_rotary_embedding_whose_factors_change_with_length_is_fine_as_long_as_they_do_not() -> None:
    check_architecture(LlamaConfig(**SMALL, rope_parameters=dict(LONG_ROPE)), 32)


def test_all_dropout_is_silenced_by_name() -> None:
    noise: dict[str, Any] = {"attention_dropout": 0.1, "residual_dropout": 0.2, "embd_pdrop": 0.3}
    config = LlamaConfig(**SMALL, **noise, rms_norm_eps=1e-5)
    silence(config)
    assert {getattr(config, name) for name in noise} == {0.0}
    assert config.rms_norm_eps == 1e-5


class Leaky(torch.nn.Module):
    """Stands in for a decoder with a convolution: each token's hidden state takes in its neighbour's."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.inner(hidden)
        return output + output.roll(1, dims=1)


class Noisy(Leaky):
    """Stands in for noise that no config field names."""

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.nn.functional.dropout(self.inner(hidden), 0.2, self.training)


class Capped(Leaky):
    """Stands in for logits that are made into others after the head."""

    def forward(self, hidden: Tensor, targets: Tensor | None = None) -> Tensor:
        found: Tensor = self.inner(hidden, targets)
        return found if targets is not None else found.tanh()


def test_a_model_whose_layers_see_across_packed_sequences_is_refused(tiny: Path) -> None:
    policy = loaded(tiny)
    check_packing(policy, CPU)
    decoder = policy.causal_lm.base_model
    decoder.norm = Leaky(decoder.get_submodule("norm"))
    with pytest.raises(InvalidInput, match="across packed sequences"):
        check_packing(policy, CPU)


def test_noise_that_has_no_name_is_found_by_training_with_it(tiny: Path) -> None:
    policy = loaded(tiny)
    decoder = policy.causal_lm.base_model
    decoder.norm = Noisy(decoder.get_submodule("norm"))
    with pytest.raises(InvalidInput, match="compute otherwise in training"):
        check_packing(policy, CPU)


def test_a_head_that_does_more_than_a_linear_map_is_found(tiny: Path) -> None:
    policy = loaded(tiny)
    policy.causal_lm.set_output_embeddings(Capped(policy.causal_lm.get_output_embeddings()))
    with pytest.raises(InvalidInput, match="more to it than causal attention and a linear head"):
        check_packing(policy, CPU)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_number_format_that_a_model_is_loaded_in_can_be_checked(tiny: Path, dtype: torch.dtype) -> None:
    check_packing(models.load(tiny, dtype=dtype, max_length=MAX_LENGTH), CPU)


def test_code_whose_attention_transformers_does_not_switch_is_compared_all_the_same(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of a repository of their own look their attention up as transformers 4 did."""
    policy = loaded(tiny)
    monkeypatch.setattr(type(policy.model), "_can_set_attn_implementation", classmethod(lambda _: False))
    check_packing(policy, CPU)
    policy.causal_lm.set_output_embeddings(Capped(policy.causal_lm.get_output_embeddings()))
    with pytest.raises(InvalidInput, match="more to it"):
        check_packing(policy, CPU)


@pytest.mark.parametrize("error", [ImportError("no package"), NameError("no name")])
def test_code_that_lacks_something_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise error

    for name in ("from_config", "from_pretrained"):
        monkeypatch.setattr(AutoModelForCausalLM, name, lacking)
    for attempt in (lambda: by_shapes(tiny, max_length=MAX_LENGTH), lambda: loaded(tiny)):
        with pytest.raises(InvalidInput, match=r"ModelNotLoadable: .*no (package|name)"):
            attempt()


def test_a_model_that_wants_values_while_it_is_made_is_left_to_the_trainer(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wanting(*_: Any, **__: Any) -> None:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    monkeypatch.setattr(AutoModelForCausalLM, "from_config", wanting)
    assert by_shapes(tiny, max_length=MAX_LENGTH) is None


def test_the_check_leaves_our_attention_and_evaluation_mode_behind(tiny: Path) -> None:
    policy = loaded(tiny)
    check_packing(policy.train(), CPU)
    assert policy.causal_lm.config._attn_implementation == attention.NAME
    assert not any(module.training for module in policy.modules())


def test_a_model_whose_shapes_cannot_tell_is_left_to_the_trainer(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unmade(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    monkeypatch.setattr(models.ResponseLogProbs, "forward", unmade)
    with caplog.at_level("INFO"):
        by_shapes(tiny, max_length=MAX_LENGTH)
    assert "cannot be tried by shapes alone" in caplog.text


def test_a_config_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(InvalidInput, match="ModelNotLoadable"):
        by_shapes(tmp_path, max_length=MAX_LENGTH)
