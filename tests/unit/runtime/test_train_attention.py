"""One varlen call over packed pairs is the attention of every response alone: layout, values and gradients.

The kernel itself runs on GPUs only. Here a reference of its contract stands in for it: block by block, causal masks
aligned at the lower right (https://github.com/Dao-AILab/flash-attention, "causal").
"""

from __future__ import annotations

import itertools
import random
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selm_runtime.errors import InvalidInput
from selm_runtime.train import attention
from selm_runtime.train.attention import PackedLayout, by_blocks, one_call
from selm_runtime.train.packing import Segment

CPU = torch.device("cpu")


def varlen_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    max_query: int,
    max_key: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What `varlen_attn` is documented to compute, in plain float64 softmaxes."""
    assert window_size == (-1, 0)
    assert query_ends.dtype == key_ends.dtype == torch.int32
    assert enable_gqa or query.shape[1] == key.shape[1]
    heads, width = query.shape[1:]
    key, value = (t.repeat_interleave(heads // t.shape[1], dim=1) for t in (key, value))
    outputs = []
    for block in range(len(query_ends) - 1):
        q = query[int(query_ends[block]) : int(query_ends[block + 1])].transpose(0, 1)
        k, v = (t[int(key_ends[block]) : int(key_ends[block + 1])].transpose(0, 1) for t in (key, value))
        assert q.shape[1] <= max_query
        assert k.shape[1] <= max_key
        scores = q @ k.transpose(1, 2) * (width**-0.5 if scale is None else scale)
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        outputs.append((scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(outputs)


def segments_of(shapes: list[tuple[int, tuple[int, ...]]]) -> tuple[Segment, ...]:
    segments, start = [], 0
    for prompt, responses in shapes:
        segments.append(Segment(start, prompt, responses))
        start += segments[-1].length
    return tuple(segments)


def alone(query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...]) -> Tensor:
    """Prompt + response as a sequence of its own, for each response; the prompt's output is the first one's."""
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    outputs = []
    for segment in segments:
        start = segment.start + segment.prompt
        for order, length in enumerate(segment.responses):
            places = [*range(segment.start, segment.start + segment.prompt), *range(start, start + length)]
            whole = torch.nn.functional.scaled_dot_product_attention(
                *(t[:, :, places] for t in (query, key, value)), is_causal=True
            )
            outputs.append(whole if order == 0 else whole[:, :, segment.prompt :])
            start += length
    return torch.cat(outputs, dim=2).transpose(1, 2)


SHAPES = st.lists(
    st.tuples(st.integers(1, 6), st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=40)
@given(SHAPES, st.sampled_from([(4, 4), (4, 2), (6, 1)]), st.integers(0, 1 << 30))
def test_one_varlen_call_equals_blocks_equals_every_response_alone(
    shapes: list[tuple[int, tuple[int, ...]]], heads: tuple[int, int], seed: int
) -> None:
    segments = segments_of(shapes)
    length = sum(segment.length for segment in segments)
    generator = torch.Generator().manual_seed(seed)
    leaves = [
        torch.randn(1, count, length, 4, dtype=torch.float64, generator=generator).requires_grad_()
        for count in (heads[0], heads[1], heads[1])
    ]
    expected = alone(*leaves, segments)
    push = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    their_grads = torch.autograd.grad((expected * push).sum(), leaves)
    layout = PackedLayout(segments)
    for output in (one_call(varlen_reference, *leaves, layout, None), by_blocks(*leaves, layout, None)):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
        for own, other in zip(torch.autograd.grad((output * push).sum(), leaves), their_grads, strict=True):
            torch.testing.assert_close(own, other, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(SHAPES, st.integers(1, 9))
def test_a_tail_is_given_zeros_and_changes_nothing_whatever_is_in_it(
    shapes: list[tuple[int, tuple[int, ...]]], tail: int
) -> None:
    segments = segments_of(shapes)
    length = sum(segment.length for segment in segments)
    generator = torch.Generator().manual_seed(3)
    own = [torch.randn(1, count, length, 4, dtype=torch.float64, generator=generator) for count in (4, 2, 2)]
    leaves = [torch.cat([t, torch.full_like(t[:, :, :1], torch.nan).expand(-1, -1, tail, -1)], 2) for t in own]
    for attend in (partial(one_call, varlen_reference), by_blocks):
        whole = [t.clone().requires_grad_() for t in own]
        expected = attend(*whole, PackedLayout(segments), None)
        filled = [t.clone().requires_grad_() for t in leaves]
        output = attend(*filled, PackedLayout(segments, tail), None)
        assert torch.equal(output[:, :length], expected)
        assert torch.equal(output[:, length:], torch.zeros(1, tail, 4, 4, dtype=torch.float64))
        for grad, theirs in zip(
            torch.autograd.grad(output.sum(), filled), torch.autograd.grad(expected.sum(), whole), strict=True
        ):
            assert torch.equal(grad[:, :, :length], theirs)
            assert not grad[:, :, length:].any()


@settings(deadline=None, max_examples=40)
@given(SHAPES)
def test_every_block_has_the_prompt_and_its_own_response_as_keys(shapes: list[tuple[int, tuple[int, ...]]]) -> None:
    segments = segments_of(shapes)
    places, query_ends, key_ends = PackedLayout(segments).varlen(CPU)
    assert int(query_ends[-1]) == sum(segment.length for segment in segments)
    blocks = [places[int(a) : int(b)].tolist() for a, b in itertools.pairwise(key_ends)]
    expected = []
    for segment in segments:
        own = list(range(segment.start, segment.start + segment.length))
        prompt, rest = own[: segment.prompt], own[segment.prompt :]
        for length in segment.responses:
            expected.append(prompt + rest[:length])
            rest = rest[length:]
    assert blocks == expected


def test_the_scale_is_handed_on() -> None:
    segments = segments_of([(2, (3, 1))])
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(1, 2, 6, 4, dtype=torch.float64, generator=generator) for _ in range(3)]
    layout = PackedLayout(segments)
    torch.testing.assert_close(
        one_call(varlen_reference, *tensors, layout, 0.3), by_blocks(*tensors, layout, 0.3), rtol=0, atol=1e-12
    )


def test_a_mask_of_a_models_own_is_taken_where_it_is_the_causal_one() -> None:
    tensors = [torch.randn(1, 1, 3, 2) for _ in range(3)]
    layout = PackedLayout(segments_of([(1, (2,))]))
    causal = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()
    additive = torch.zeros(1, 1, 3, 3).masked_fill(~causal, torch.finfo(torch.float32).min)
    for mask in (causal, additive):
        attention.packed_attention(torch.nn.Identity(), *tensors, mask, layout=layout)
    narrowed, by_head = causal.clone(), causal.repeat(1, 2, 1, 1)
    narrowed[0, 0, 2, 0] = False
    for mask in (narrowed, by_head, torch.ones(1, 3)):
        with pytest.raises(InvalidInput, match="asks for attention_mask"):
            attention.packed_attention(torch.nn.Identity(), *tensors, mask, layout=layout)


def test_values_may_be_narrower_than_keys() -> None:
    segments = segments_of([(2, (3, 1)), (1, (2,))])
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(1, 2, 9, d, dtype=torch.float64, generator=generator) for d in (6, 6, 4))
    layout = PackedLayout(segments)

    def one_width(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any) -> Tensor:
        assert query.shape[-1] == key.shape[-1] == value.shape[-1]
        return varlen_reference(query, key, value, *rest, **more)

    found = one_call(one_width, query, key, value, layout, None)
    torch.testing.assert_close(found, by_blocks(query, key, value, layout, None), rtol=0, atol=1e-12)


def test_dropout_is_refused_and_the_cpu_takes_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(2)
    tensors = [torch.full((1, 1, 3, 2), chance.random()) for _ in range(3)]
    layout = PackedLayout(segments_of([(1, (2,))]))
    monkeypatch.setattr(attention, "varlen_attn", None)
    output, _ = attention.packed_attention(torch.nn.Identity(), *tensors, None, layout=layout)
    assert output.shape == (1, 3, 1, 2)
    with pytest.raises(InvalidInput, match="dropout"):
        attention.packed_attention(torch.nn.Identity(), *tensors, None, dropout=0.1, layout=layout)
