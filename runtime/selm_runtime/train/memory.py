"""What a rank's memory is taken by besides activations: arithmetic from the model's size and the training's settings."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from selm_runtime.contract import TrainingConfig
from selm_runtime.train.engine import BUCKET_ELEMENTS, LIVE_ELEMENTS, dtype_of, zero_stage_of
from selm_runtime.train.logprobs import KEPT_ELEMENTS, TILE_ELEMENTS
from selm_runtime.train.ranks import Ranks

CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
FLOAT32 = 4
MOMENTS = 2 * FLOAT32
USABLE = 0.9
"""Of a device's memory; the rest goes to its runtime, the allocator's gaps and whoever else is there."""


def activation_budget(policy: nn.Module, training: TrainingConfig, ranks: Ranks) -> int:
    """Bytes that a rank may keep for the backward pass, at least 0; the same on ranks of equal machines."""
    found = list(policy.parameters())
    elements = [int(getattr(parameter, "ds_numel", parameter.numel())) for parameter in found]
    held = state_bytes(
        sum(count * parameter.element_size() for count, parameter in zip(elements, found, strict=True)),
        sum(count for count, parameter in zip(elements, found, strict=True) if parameter.requires_grad),
        training,
        ranks=ranks.size,
        has_host=ranks.device.type == "cuda",
    )
    return left_over(memory_of(ranks.device, ranks.local_size), held)


def left_over(memory: int, held: int) -> int:
    """Bytes of `memory` for activations, where `held` are taken by the state."""
    return max(0, int(memory * USABLE) - held)


def state_bytes(weights: int, trained: int, training: TrainingConfig, *, ranks: int, has_host: bool) -> int:
    """Bytes of weights, gradients, optimizer and buffers on a rank's device: `weights` bytes of the whole model's weights,
    adapters included, `trained` elements of them with a gradient.

    `has_host`: what is offloaded lies in another memory. Follows what DeepSpeed holds by stage: the optimizer is cut from
    stage 1, accumulated gradients (float32) from stage 2, weights at stage 3.
    """
    stage, offload = zero_stage_of(training), training.offload
    width = dtype_of(training).itemsize
    kept = 0
    if not (has_host and offload.parameters == "CPU"):
        kept += weights // (ranks if stage == 3 else 1)
    masters = FLOAT32 if stage > 0 else 0  # stage 0 is float32's alone, and updates the weights themselves
    optimizer = trained * (masters + MOMENTS) // (ranks if stage > 0 else 1)
    gradients = trained * FLOAT32 // ranks if stage > 1 else trained * (FLOAT32 + (width if stage else 0))
    if has_host and offload.optimizer == "CPU":
        optimizer = 0
        gradients = gradients if stage < 2 else 0
    return kept + optimizer + gradients + _buffers(weights // width, trained, stage, width)


def _buffers(elements: int, trained: int, stage: int, width: int) -> int:
    """Of fixed size: logits, log-probs that are kept, and what ZeRO reduces and gathers at once."""
    logits = FLOAT32 * (2 * TILE_ELEMENTS + KEPT_ELEMENTS)
    buckets = FLOAT32 * min(BUCKET_ELEMENTS, trained) * (2 if stage else 0)
    gathered = width * min(LIVE_ELEMENTS + BUCKET_ELEMENTS, elements) if stage == 3 else 0
    return logits + buckets + gathered


def memory_of(device: torch.device, local_ranks: int) -> int:
    """Bytes of a rank's device, or of its share of the node's memory (cgroup limits count)."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP_MEMORY.read_text().strip() if CGROUP_MEMORY.exists() else "max"
    return min(memory, int(limit) if limit.isdigit() else memory) // local_ranks
