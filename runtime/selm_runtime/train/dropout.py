"""Dropout before the adapters, whose masks are a function of what is trained and not of how the work is laid out.

A pair's mask in a module is drawn from a generator of its own, seeded by (seed, iteration, optimizer step, pair, module).
So it is the same on any number of ranks, in any micro-batch, in a resumed training, and when activations are computed
anew for the backward pass: nothing of the process' random state is read. A prompt's tokens, which are run once for all
responses, have one mask.

Masks are drawn in training mode alone. The reference pass and the figures that an objective observes are of the whole
network; so is the first step's anchor, as a new adapter's B is zero: whatever its A is given, it adds nothing.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from selm_runtime.errors import InvalidInput
from selm_runtime.train.packing import PackedBatch


class Masks:
    """What all dropout modules of a model share: whose tokens the next forward and backward pass are of."""

    def __init__(self, seed: int, iteration: int) -> None:
        self._begin = f"{seed}:{iteration}"
        self._step = -1
        self._batch: PackedBatch | None = None

    def of(self, step: int, batch: PackedBatch) -> None:
        """Draw for `batch` of optimizer step `step`, until the next call: to be made before each forward pass."""
        self._step, self._batch = step, batch

    def keep_out_of_graphs(self) -> None:
        """Let torch.compile leave the drawing as it is: a pair's generator is no part of a graph."""
        self.draw = torch.compiler.disable(self.draw)  # type: ignore[method-assign, no-untyped-call]

    def draw(self, like: Tensor, module: str, share: float) -> Tensor:
        """Mask [T, width] for `like`, [..., T, width]: 0 for a `share` of the elements, else 1 / (1 - share)."""
        batch, width = self._batch, like.shape[-1]
        if batch is None:
            raise RuntimeError("no micro-batch was announced to the adapters' dropout")
        if like.numel() != batch.tokens * width:
            raise InvalidInput(
                "UnsupportedLora",
                f"spec.training.lora.dropout: {module} is given {like.numel() // width} of the {batch.tokens} tokens of a "
                "micro-batch; with dropout targetModules may name modules only that every token passes once",
            )
        mask = torch.empty(batch.tokens, width, dtype=like.dtype, device=like.device)
        mask[batch.tokens - batch.tail :] = 0.0
        generator = torch.Generator(like.device)
        for row, segment in zip(batch.rows, batch.segments, strict=True):
            generator.manual_seed(self._seed(row, module))
            mask[segment.start : segment.start + segment.length].bernoulli_(1.0 - share, generator=generator)
        return mask.div_(1.0 - share)

    def _seed(self, row: int, module: str) -> int:
        text = f"{self._begin}:{self._step}:{row}:{module}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


class SharedDropout(nn.Module):
    """Dropout of one adapter's input by the masks that its model shares."""

    def __init__(self, masks: Masks, module: str, share: float) -> None:
        super().__init__()
        self._masks, self._module, self._share = masks, module, share

    def forward(self, x: Tensor) -> Tensor:
        """[..., T, width] -> the same shape; unchanged outside of training."""
        if not self.training:
            return x
        return x * self._masks.draw(x, self._module, self._share).view(x.shape)
