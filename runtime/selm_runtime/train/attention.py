"""Causal attention over packed pairs: each response sees its prompt and itself, and nothing else.

Registered with transformers as an attention implementation, so that any model that dispatches attention through that
interface runs packed, with each prompt's keys, values and hidden states computed once for all its responses. Equal to
running every prompt + response alone up to the order of floating-point sums.

One pair's stretch is cut into one block a response. The prompt's queries go with the first response's; each block has
its own copy of the prompt's keys:

    queries   [prompt c] [r] [e]
    keys      [prompt c] [prompt r] [prompt e]

Causal masks are aligned at the lower right, so that the queries of r and e see the whole prompt and their own past. On
GPUs all blocks of a batch are one call of FlashAttention's kernel for variable lengths; elsewhere, and in float32,
each block is a call of scaled_dot_product_attention.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from selm_runtime.errors import InvalidInput
from selm_runtime.train.architecture import beyond_window
from selm_runtime.train.packing import Segment
from selm_runtime.train.transfers import to_device

try:  # a prototype of torch's, absent from some releases and builds
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None  # type: ignore[assignment]

NAME = "selm_packed"
"""What `attn_implementation` is set to."""
FLASH_CAPABILITY = (8, 0)
"""FlashAttention 2 needs an Ampere GPU or a newer one."""

MASKS_LOOKED_AT = 64
"""Tokens of a pack up to which a model's own mask is compared with the causal one."""
WITHOUT_EFFECT = frozenset({"position_ids", "use_cache", "output_attentions"})
"""What layers hand to attention functions that does not change their result."""

VarlenAttention = Callable[..., Any]
"""As `torch.nn.attention.varlen.varlen_attn`: [T, heads, d] queries, [K, kv heads, d] keys and values, cumulative
lengths [blocks + 1] of both, the longest of both -> [T, heads, d]."""


class PackedLayout:
    """The segments of one packed batch, with what its layers share: masks on CPU, gather indices on GPU."""

    def __init__(self, segments: tuple[Segment, ...], tail: int = 0) -> None:
        """`tail`: tokens behind the last segment, which attend to nothing and are given zeros."""
        self.segments = segments
        self.tail = tail
        self.query_lengths = [
            segment.prompt + length if order == 0 else length
            for segment in segments
            for order, length in enumerate(segment.responses)
        ]
        self.key_lengths = [length for segment in segments for length in (segment.prompt, *segment.responses)]
        self.block_key_lengths = [segment.prompt + length for segment in segments for length in segment.responses]
        self.longest = max(self.block_key_lengths)
        """Tokens of the longest prompt and response."""
        self.attended = False
        """Whether a layer has asked for it: one that has attention of its own sees across sequences."""
        self._masks: dict[tuple[int, int], Tensor] = {}
        self._varlen: tuple[Tensor, Tensor, Tensor] | None = None

    def mask(self, queries: int, keys: int, like: Tensor) -> Tensor:
        """Additive causal mask [queries, keys], aligned at the lower right: the last query sees every key."""
        mask = self._masks.get((queries, keys))
        if mask is None:
            allowed = torch.ones(queries, keys, dtype=torch.bool, device=like.device).tril(keys - queries)
            mask = torch.zeros(queries, keys, dtype=like.dtype, device=like.device)
            mask.masked_fill_(~allowed, float("-inf"))
            self._masks[queries, keys] = mask
        return mask

    def varlen(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """For a varlen kernel: the packed position of each block's keys [K], and cumulative lengths of queries and keys.

        The lengths are int32 [blocks + 1] as FlashAttention wants them; made once a batch, in one transfer.
        """
        if self._varlen is None:
            places: list[int] = []
            for segment in self.segments:
                start = segment.start + segment.prompt
                for length in segment.responses:
                    places += range(segment.start, segment.start + segment.prompt)
                    places += range(start, start + length)
                    start += length
            self._varlen = (
                to_device(torch.tensor(places), device),
                to_device(_cumulative(self.query_lengths), device),
                to_device(_cumulative(self.block_key_lengths), device),
            )
        return self._varlen


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
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: [1, heads, T, d] query, [1, kv heads, T, d] key and value -> [1, T, heads, d].

    `layout` says which keys a query sees. Raises InvalidInput where the layer asks for more (a mask of its own, a cap on
    its scores, a sink, dropout, a window that sequences exceed), rather than leave it out.
    """
    asked = {"attention_mask": None if _is_plainly_causal(attention_mask) else attention_mask, **others}
    more = [
        name for name, value in asked.items() if name not in WITHOUT_EFFECT and value is not None and value is not False
    ]
    layout.attended = True
    if dropout:
        more.append("dropout")
    if not getattr(module, "is_causal", True):
        more.append("sight of later tokens")
    if more:
        raise InvalidInput(
            "UnsupportedModel",
            f"spec.model: the attention of {_kind(module)} asks for {', '.join(more)}; training has causal attention over "
            "packed sequences and nothing beside it",
        )
    if sliding_window is not None and sliding_window < layout.longest:
        raise beyond_window(sliding_window, layout.longest, _kind(module))
    if varlen_attn is not None and _flash_runs(query):
        return one_call(varlen_attn, query, key, value, layout, scaling), None
    return by_blocks(query, key, value, layout, scaling), None


def one_call(
    attend: VarlenAttention, query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float | None
) -> Tensor:
    """All blocks in one call of a varlen kernel; the prompts' keys and values are gathered once a response.

    Kernels want queries, keys and values of one width: narrower values (multi-head latent attention) get zeros beside them.
    """
    places, query_ends, key_ends = layout.varlen(query.device)
    width = value.shape[-1]
    if width < query.shape[-1]:
        value = F.pad(value, (0, query.shape[-1] - width))
    queries = query[0].transpose(0, 1)
    if layout.tail:  # the kernel writes what its lengths name and nothing else
        queries = queries[: -layout.tail]
    output: Tensor = attend(
        queries,
        key[0].transpose(0, 1).index_select(0, places),
        value[0].transpose(0, 1).index_select(0, places),
        query_ends,
        key_ends,
        max(layout.query_lengths),
        layout.longest,
        scale=scaling,
        window_size=(-1, 0),  # causal, aligned at the lower right
        enable_gqa=query.shape[1] != key.shape[1],
    )
    if layout.tail:
        output = F.pad(output, (0, 0, 0, 0, 0, layout.tail))
    return output[..., :width].unsqueeze(0)


def by_blocks(query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float | None) -> Tensor:
    """One call of scaled_dot_product_attention a block."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    # One split of each tensor for the whole batch: the backward pass of a slice would fill the full length each time.
    tail = [layout.tail] if layout.tail else []
    queries = iter(torch.split(query, [*layout.query_lengths, *tail], dim=2))
    keys = iter(torch.split(key, [*layout.key_lengths, *tail], dim=2))
    values = iter(torch.split(value, [*layout.key_lengths, *tail], dim=2))
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
    outputs += [torch.zeros_like(each) for each in queries]  # the tail, where there is one
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def _is_plainly_causal(mask: Tensor | None) -> bool:
    """Whether a mask says what `layout` would say of one sequence: models that make their own have such a one.

    Its values are looked at in packs as short as `probe.py` has them, which each model has to pass first.
    """
    if mask is None or mask.dim() != 4 or mask.shape[:2] != (1, 1) or mask.shape[2] != mask.shape[3]:
        return False
    if mask.is_meta or mask.shape[3] > MASKS_LOOKED_AT:
        return True
    seen = mask if mask.dtype == torch.bool else mask == 0
    return bool((seen[0, 0] == torch.ones_like(seen[0, 0]).tril()).all())


def _flash_runs(query: Tensor) -> bool:
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(query.device) >= FLASH_CAPABILITY
    )


def _kind(module: nn.Module) -> str:
    return str(getattr(getattr(module, "config", None), "model_type", type(module).__name__))


def _cumulative(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)


@cache  # graphs know the function that they leave out: another one would have them compiled anew
def keep_out_of_graphs() -> None:
    """Let torch.compile leave attention as it is: its calls depend on the layout of each pack."""
    outside = torch.compiler.disable(packed_attention)  # type: ignore[no-untyped-call]
    AttentionInterface.register(NAME, outside)


AttentionInterface.register(NAME, packed_attention)
