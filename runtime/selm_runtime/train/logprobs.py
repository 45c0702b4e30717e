"""Log-probabilities of given tokens without a [tokens, vocabulary] tensor that outlives its tile.

The backward pass computes each tile's logits anew, or keeps what the forward pass found where the micro-batch is small:
those of a CPU save a quarter of the head's products that way.
Products of lower-precision inputs are accumulated and kept in float32: rounding each tile's product to bf16 before
summing would bias the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TILE_ELEMENTS = 1 << 24
"""Logits held at once: 64 MiB in float32."""
KEPT_ELEMENTS = 1 << 26
"""Log-probs of the whole vocabulary kept for the backward pass, at most: 256 MiB in float32. Else computed anew."""


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b with a float32 result (float64 for float64 inputs): [m, k] x [k, n]."""
    if a.dtype in (torch.float32, torch.float64):
        return a @ b
    return torch.mm(a, b, out_dtype=torch.float32)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, in `total`'s number format."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total += _product(a, b)


def _operands(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs as `_product` takes them: only CUDA multiplies bf16 into float32, elsewhere they are widened once."""
    if hidden.device.type == "cuda":
        return hidden, weight
    wide = torch.promote_types(hidden.dtype, torch.float32)
    return hidden.to(wide), weight.to(wide)


class _TiledLogProbs(torch.autograd.Function):
    """log softmax(hidden weight^T + bias)[targets], by tiles of rows."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        tile_rows: int,
        keep: bool,
    ) -> Tensor:
        rows, matrix = _operands(hidden, weight)
        log_probs = torch.empty(
            len(targets), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device
        )
        kept: list[Tensor] = []
        for tile in _tiles(len(targets), tile_rows):
            every = _logits(rows[tile], matrix, bias).log_softmax(-1)  # one pass over rows that fit into a cache
            log_probs[tile] = every.gather(1, targets[tile, None]).squeeze(1)
            if keep:
                kept.append(every)
        ctx.save_for_backward(hidden, weight, bias, targets, *kept)
        ctx.tile_rows = tile_rows
        return log_probs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        hidden, weight, bias, targets, *kept = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        rows, matrix = _operands(hidden, weight)
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=grad.dtype) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=grad.dtype) if bias is not None and needs_bias else None
        for number, tile in enumerate(_tiles(len(targets), ctx.tile_rows)):
            probabilities = kept[number].exp() if kept else _logits(rows[tile], matrix, bias).softmax(-1)
            # d log p(target) / d logits = onehot(target) - softmax(logits)
            delta = probabilities.mul_(-grad[tile, None])
            delta.scatter_add_(1, targets[tile, None], grad[tile, None])
            narrow = delta.to(matrix.dtype)
            if grad_hidden is not None:
                grad_hidden[tile] = _product(narrow, matrix).to(hidden.dtype)
            if grad_weight is not None:
                _add_product(grad_weight, narrow.T, rows[tile])
            if grad_bias is not None:
                grad_bias += delta.sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _tiles(rows: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = _product(hidden, weight.T)
    return logits if bias is None else logits.add_(bias)


def tiled_log_probs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    tile_elements: int = TILE_ELEMENTS,
    kept_elements: int = KEPT_ELEMENTS,
) -> Tensor:
    """Log-probability of each target: [N, H] hidden states, [V, H] weight, [N] targets -> [N] nats.

    The result is float32, or float64 where the inputs are. Memory beyond inputs and gradients is two tiles of at most
    `tile_elements` logits (at least one row), the weight's gradient in float32, and every tile until the backward pass
    where all together have no more than `kept_elements`.
    """
    vocabulary = weight.shape[0]
    tile_rows = max(1, tile_elements // vocabulary)
    keep = torch.is_grad_enabled() and len(targets) * vocabulary <= kept_elements
    result: Tensor = _TiledLogProbs.apply(hidden, weight, bias, targets, tile_rows, keep)  # type: ignore[no-untyped-call]
    return result


def sum_by_response(log_probs: Tensor, response_of: Tensor, responses: int) -> Tensor:
    """Sum token log-probs [N] into [responses], in float32 or wider."""
    sums = torch.zeros(responses, dtype=log_probs.dtype, device=log_probs.device)
    return sums.index_add(0, response_of, log_probs)


class TiledHead(nn.Module):
    """Stands in for a model's output projection and shares its parameters; answers log-probs instead of logits.

    A module of its own, so that whoever gathers and releases parameters around modules (ZeRO-3) does so for the
    weight here too, again when the backward pass computes the tiles anew.
    """

    def __init__(self, projection: nn.Linear) -> None:
        super().__init__()
        self.weight = projection.weight
        self.bias = projection.bias

    def forward(self, hidden: Tensor, targets: Tensor | None = None) -> Tensor:
        """[N, H] hidden states that predict [N] targets -> [N] log-probs in nats; without targets the logits [..., V]."""
        if targets is None:
            return functional.linear(hidden, self.weight, self.bias)
        return tiled_log_probs(hidden, self.weight, targets, bias=self.bias)
