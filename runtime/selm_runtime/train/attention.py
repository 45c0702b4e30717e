"""Causal attention over packed pairs: each response sees its prompt and itself, and nothing else.

Registered with transformers as an attention implementation, so that any model that dispatches attention through that
interface runs packed, with each prompt's keys, values and hidden states computed once for all its responses. Equal to
running every prompt + response alone up to the order of floating-point sums.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from selm_runtime.train.packing import Segment

NAME = "selm_packed"
"""What `attn_implementation` is set to."""


class PackedLayout:
    """The segments of one packed batch, with the masks that its layers share."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.segments = segments
        self.query_lengths = [
            segment.prompt + length if order == 0 else length
            for segment in segments
            for order, length in enumerate(segment.responses)
        ]
        self.key_lengths = [length for segment in segments for length in (segment.prompt, *segment.responses)]
        self._masks: dict[tuple[int, int], Tensor] = {}

    def mask(self, queries: int, keys: int, like: Tensor) -> Tensor:
        """Additive causal mask [queries, keys], aligned at the lower right: the last query sees every key."""
        mask = self._masks.get((queries, keys))
        if mask is None:
            allowed = torch.ones(queries, keys, dtype=torch.bool, device=like.device).tril(keys - queries)
            mask = torch.zeros(queries, keys, dtype=like.dtype, device=like.device)
            mask.masked_fill_(~allowed, float("-inf"))
            self._masks[queries, keys] = mask
        return mask


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: PackedLayout,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: [1, heads, T, d] query, [1, kv heads, T, d] key and value -> [1, T, heads, d].

    `attention_mask` is not used: `layout` says all. Raises ValueError where the layer asks for what this cannot give
    (dropout), rather than leave it out.
    """
    del module, attention_mask
    if dropout:
        raise ValueError("packed attention has no dropout: reference and policy must see the same network")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    # One split of each tensor for the whole batch: the backward pass of a slice would fill the full length each time.
    queries = iter(torch.split(query, layout.query_lengths, dim=2))
    keys = iter(torch.split(key, layout.key_lengths, dim=2))
    values = iter(torch.split(value, layout.key_lengths, dim=2))
    outputs: list[Tensor] = []
    for segment in layout.segments:
        prompt_key, prompt_value = next(keys), next(values)
        for order, length in enumerate(segment.responses):
            outputs.append(
                F.scaled_dot_product_attention(
                    next(queries),
                    torch.cat((prompt_key, next(keys)), dim=2),
                    torch.cat((prompt_value, next(values)), dim=2),
                    attn_mask=layout.mask(length, segment.prompt + length, query) if order else None,
                    is_causal=order == 0,  # the prompt's queries go with its first response's: a square causal call
                    scale=scaling,
                )
            )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, packed_attention)
