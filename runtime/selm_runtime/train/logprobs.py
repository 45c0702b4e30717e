"""Log-probabilities of given tokens without a [tokens, vocabulary] tensor that outlives its tile.

The forward pass keeps the log-sum-exp of each token, one float; the backward pass computes each tile's logits anew.
Products of lower-precision inputs are accumulated and kept in float32: rounding each tile's product to bf16 before
summing would bias the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TILE_ELEMENTS = 1 << 24
"""Logits held at once: 64 MiB in float32."""


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b with a float32 result (float64 for float64 inputs): [m, k] x [k, n]."""
    if a.dtype in (torch.float32, torch.float64):
        return a @ b
    return torch.mm(a, b, out_dtype=torch.float32)


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
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, tile_rows: int
    ) -> Tensor:
        rows, matrix = _operands(hidden, weight)
        log_probs = torch.empty(
            len(targets), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device
        )
        log_sum_exp = torch.empty_like(log_probs)
        for tile in _tiles(len(targets), tile_rows):
            logits = _logits(rows[tile], matrix, bias)
            log_sum_exp[tile] = torch.logsumexp(logits, dim=-1)
            log_probs[tile] = logits.gather(1, targets[tile, None]).squeeze(1) - log_sum_exp[tile]
        ctx.save_for_backward(hidden, weight, bias, targets, log_sum_exp)
        ctx.tile_rows = tile_rows
        return log_probs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        hidden, weight, bias, targets, log_sum_exp = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        rows, matrix = _operands(hidden, weight)
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=log_sum_exp.dtype) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=log_sum_exp.dtype) if bias is not None and needs_bias else None
        for tile in _tiles(len(targets), ctx.tile_rows):
            # d log p(target) / d logits = onehot(target) - softmax(logits)
            delta = _logits(rows[tile], matrix, bias).sub_(log_sum_exp[tile, None]).exp_().mul_(-grad[tile, None])
            delta.scatter_add_(1, targets[tile, None], grad[tile, None])
            narrow = delta.to(matrix.dtype)
            if grad_hidden is not None:
                grad_hidden[tile] = _product(narrow, matrix).to(hidden.dtype)
            if grad_weight is not None:
                grad_weight += _product(narrow.T, rows[tile])
            if grad_bias is not None:
                grad_bias += delta.sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
        )


def _tiles(rows: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = _product(hidden, weight.T)
    return logits if bias is None else logits.add_(bias)


def tiled_log_probs(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, tile_elements: int = TILE_ELEMENTS
) -> Tensor:
    """Log-probability of each target: [N, H] hidden states, [V, H] weight, [N] targets -> [N] nats.

    The result is float32, or float64 where the inputs are. Memory beyond inputs and gradients is one tile of at most
    `tile_elements` logits (at least one row), and the weight's gradient in float32.
    """
    tile_rows = max(1, tile_elements // weight.shape[0])
    result: Tensor = _TiledLogProbs.apply(hidden, weight, bias, targets, tile_rows)  # type: ignore[no-untyped-call]
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

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """[N, H] hidden states that predict [N] targets -> [N] log-probs in nats."""
        return tiled_log_probs(hidden, self.weight, targets, bias=self.bias)
