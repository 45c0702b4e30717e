"""Packed, prefix-shared and tiled log-probs equal the plain model's, in values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from selm_runtime.errors import InvalidInput
from selm_runtime.train import model as models
from selm_runtime.train.logprobs import sum_by_response, tiled_log_probs
from selm_runtime.train.packing import pack
from selm_runtime.train.pairs import Pair
from support.tiny_model import make_tiny_model
from support.train_pairs import make_pairs

TOLERANCE = 1e-6
"""transformers computes norms and rotary angles in float32 whatever the weights are."""
MAX_LENGTH = 64


def alone(model: torch.nn.Module, pair: Pair) -> list[Tensor]:
    """Each distinct response by itself: one unpadded sequence, full logits."""
    sums = []
    for response in pair.responses:
        ids = torch.tensor([pair.prompt + response])
        log_probs = model(input_ids=ids).logits[0].log_softmax(-1)
        start = len(pair.prompt) - 1
        sums.append(log_probs[start:-1].gather(1, torch.tensor(response)[:, None]).sum())
    return sums


def padded(model: torch.nn.Module, pairs: list[Pair]) -> Tensor:
    """All distinct responses as one right-padded batch with an attention mask, as trainers commonly do it."""
    sequences = [(pair.prompt, response) for pair in pairs for response in pair.responses]
    width = max(len(prompt) + len(response) for prompt, response in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.int64)
    mask, label = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for i, (prompt, response) in enumerate(sequences):
        ids[i, : len(prompt) + len(response)] = torch.tensor(prompt + response)
        mask[i, : len(prompt) + len(response)] = 1
        label[i, len(prompt) : len(prompt) + len(response)] = True
    log_probs = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    picked = log_probs[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    return (picked * label[:, 1:]).sum(1)


def gradients(model: torch.nn.Module, value: Tensor) -> list[Tensor]:
    model.zero_grad()
    (value * torch.linspace(-1, 1, len(value), dtype=value.dtype)).sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def assert_same(ours: Tensor, theirs: Tensor, our_grads: list[Tensor], their_grads: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    assert len(our_grads) == len(their_grads)
    for own, other in zip(our_grads, their_grads, strict=True):
        torch.testing.assert_close(own, other, rtol=TOLERANCE, atol=TOLERANCE * other.abs().max().item())


def _llama(**changes: object) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SMALL, **changes))


def _qwen(**changes: object) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(Qwen2Config(**SMALL, **changes))


SMALL = {
    "vocab_size": 262,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}
ARCHITECTURES: dict[str, Callable[[], torch.nn.Module]] = {
    "Llama": lambda: _llama(),
    "Llama with grouped queries and tied embeddings": lambda: _llama(num_key_value_heads=2, tie_word_embeddings=True),
    "Qwen2 with biases": lambda: _qwen(num_key_value_heads=2),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_and_prefix_shared_equals_alone_equals_padded(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    ARCHITECTURES[name]().save_pretrained(tmp_path)
    pairs = make_pairs(5)
    policy = models.load(tmp_path, dtype=torch.float64, max_length=MAX_LENGTH)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    ours = policy(pack(pairs, explored=True))
    single = torch.stack([value for pair in pairs for value in alone(plain, pair)])
    batch = padded(plain, pairs)
    our_grads = gradients(policy, ours)
    assert_same(ours, single, our_grads, gradients(plain, single))
    assert_same(ours, batch, our_grads, gradients(plain, batch))


def test_micro_batches_of_any_size_give_the_same_values_and_gradients(tiny: Path) -> None:
    pairs = make_pairs(6)
    policy = models.load(tiny, dtype=torch.float64, max_length=MAX_LENGTH)
    whole = policy(pack(pairs, explored=True))
    parts = torch.cat([policy(pack([pair], explored=True)) for pair in pairs])
    assert_same(whole, parts, gradients(policy, whole), gradients(policy, parts))


def test_recomputing_activations_changes_no_bit(tiny: Path) -> None:
    batch = pack(make_pairs(4), explored=True)
    results = []
    for budget in (1 << 40, 0):
        policy = models.load(tiny, dtype=torch.float32, max_length=MAX_LENGTH)
        policy.train()
        assert models.enable_checkpointing_if_needed(policy, batch.tokens, budget) == (budget == 0)
        value = policy(batch)
        results.append([value, *gradients(policy, value)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("intermediate", [96, 256])
def test_the_estimate_of_activations_is_a_little_above_what_autograd_keeps(
    heads: int, intermediate: int, tmp_path: Path
) -> None:
    shape = {**SMALL, "hidden_size": 64, "intermediate_size": intermediate, "num_hidden_layers": 4}
    LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=heads)).save_pretrained(tmp_path)
    policy = models.load(tmp_path, dtype=torch.float32, max_length=MAX_LENGTH)
    batch = pack([Pair(row, (3,) * 20, (5,) * 40, (6,) * 40) for row in range(4)], explored=False)
    weights = {parameter.untyped_storage().data_ptr() for parameter in policy.parameters()}
    kept: dict[int, tuple[Tensor, int]] = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        policy(batch)
    per_token = sum(size for _, size in kept.values()) / batch.tokens
    assert 1.0 <= models.activation_bytes_per_token(policy.causal_lm.config, 4) / per_token <= 1.5


@pytest.mark.parametrize("tile_elements", [1, 50, 137, 1 << 24])
@pytest.mark.parametrize("kept_elements", [0, 1 << 24], ids=["recomputed", "kept"])
@pytest.mark.parametrize("bias", [False, True])
def test_tiles_of_any_size_equal_the_full_log_softmax(tile_elements: int, kept_elements: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(3)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    hidden, weight, offset = leaf(11, 8), leaf(40, 8), leaf(40) if bias else None
    targets = torch.randint(0, 40, (11,), generator=generator)
    leaves = [tensor for tensor in (hidden, weight, offset) if tensor is not None]
    tiled = tiled_log_probs(
        hidden, weight, targets, bias=offset, tile_elements=tile_elements, kept_elements=kept_elements
    )
    logits = hidden @ weight.T if offset is None else hidden @ weight.T + offset
    full = logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(tiled, full, rtol=0, atol=1e-12)
    push = torch.linspace(-2, 1, 11, dtype=torch.float64)
    ours = torch.autograd.grad((tiled * push).sum(), leaves)
    theirs = torch.autograd.grad((full * push).sum(), leaves)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12)


def test_bf16_inputs_are_multiplied_and_summed_in_float32() -> None:
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(9, 64, generator=generator).bfloat16()
    weight = torch.randn(300, 64, generator=generator).bfloat16()
    targets = torch.randint(0, 300, (9,), generator=generator)
    tiled = tiled_log_probs(hidden, weight, targets)
    exact = (hidden.double() @ weight.double().T).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    assert tiled.dtype == torch.float32
    torch.testing.assert_close(tiled.double(), exact, rtol=1e-5, atol=1e-5)


def test_no_tensor_of_tokens_times_vocabulary_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = torch.Tensor.__matmul__

    def watching(self: Tensor, other: Tensor) -> Tensor:
        result = real(self, other)
        if result.shape[-1] == VOCABULARY:
            seen.append(result.shape[0])
        return result

    monkeypatch.setattr(torch.Tensor, "__matmul__", watching)
    VOCABULARY, tokens = 1000, 64
    hidden = torch.randn(tokens, 4, requires_grad=True)
    weight = torch.randn(VOCABULARY, 4, requires_grad=True)
    tiled_log_probs(
        hidden,
        weight,
        torch.zeros(tokens, dtype=torch.int64),
        tile_elements=8 * VOCABULARY,
        kept_elements=tokens * VOCABULARY - 1,
    ).sum().backward()
    assert seen == [8] * 2 * (tokens // 8)  # each tile in the forward pass, and anew in the backward pass


def test_few_logits_are_kept_for_the_backward_pass_and_none_without_one() -> None:
    saved: list[Tensor] = []
    hidden, weight = torch.randn(6, 4, requires_grad=True), torch.randn(10, 4, requires_grad=True)
    targets = torch.zeros(6, dtype=torch.int64)

    def remember(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        tiled_log_probs(hidden, weight, targets, tile_elements=20, kept_elements=60)
        assert [tuple(tensor.shape) for tensor in saved if tensor.shape[-1] == 10] == [(2, 10)] * 3
        saved.clear()
        tiled_log_probs(hidden, weight, targets, tile_elements=20, kept_elements=59)
        with torch.no_grad():
            tiled_log_probs(hidden, weight, targets)
        assert not [tensor for tensor in saved if tensor.shape[-1] == 10]


def test_sums_are_by_response() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0])
    assert sum_by_response(values, torch.tensor([0, 2, 2, 0]), 3).tolist() == [9.0, 0.0, 6.0]


def test_a_response_that_appears_twice_is_run_once_and_the_explored_one_not_at_all_without_need() -> None:
    pair = Pair(0, (1, 7), (8, 2), (9, 2), explored=((8, 2),))
    batch = pack([pair], explored=True)
    assert batch.tokens == 2 + 2 + 2
    assert batch.explored is not None
    assert batch.explored.tolist() == batch.chosen.tolist()
    other = Pair(0, (1, 7), (8, 2), (9, 2), explored=((10, 11, 2),))
    assert pack([other], explored=True).tokens == 9
    without = pack([other], explored=False)
    assert without.tokens == 6
    assert without.explored is None
    assert 10 not in without.input_ids


def test_a_prompt_without_tokens_or_an_empty_response_is_an_error() -> None:
    for pair in (Pair(3, (), (8,), (9,)), Pair(3, (1,), (), (9,))):
        with pytest.raises(ValueError, match="row 3"):
            pack([pair], explored=False)


def test_weights_that_the_files_lack_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = make_tiny_model(tmp_path)
    file = next(model.glob("*.safetensors"))
    weights = load_file(file)
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="up_proj"):
        models.load(model, dtype=torch.float32, max_length=MAX_LENGTH)
