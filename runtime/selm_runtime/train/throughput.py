"""How fast and how large a training is: rates, model FLOPs utilization and memory. Never part of a manifest."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from selm_runtime.train.pairs import Pair
from selm_runtime.train.ranks import Ranks

GIB = float(2**30)

PEAK_BF16_FLOPS = {
    "A100": 312e12,
    "A800": 312e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "H200": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
}
"""Dense bf16 products a second, by the vendor's data sheets; the longest name that a device's own name holds counts."""


@dataclass(frozen=True)
class Shape:
    """What a causal language model costs: parameters of the blocks, of the output head, layers and attention width."""

    blocks: int
    head: int
    layers: int
    attention_width: int

    @classmethod
    def of(cls, config: Any, parameters: int) -> Shape:
        """From a Hugging Face config and the number of all parameters, tied ones counted once.

        Embeddings are looked up, not multiplied: they are in neither `blocks` nor `head`, unless tied to the head.
        """
        head = int(config.vocab_size) * int(config.hidden_size)
        embeddings = head if config.tie_word_embeddings else 2 * head
        heads = int(config.num_attention_heads)
        width = int(getattr(config, "head_dim", None) or config.hidden_size // heads) * heads
        return cls(parameters - embeddings, head, int(config.num_hidden_layers), width)


def training_flops(shape: Shape, pairs: Iterable[Pair]) -> float:
    """Useful products of one optimizer step: forward and backward, nothing that is padding, a repetition or a recompute.

    6 x block parameters x distinct tokens (each prompt once, each distinct response once), 6 x head parameters x
    response tokens, and for attention 12 x layers x width x the (query, key) pairs that the causal mask lets through.
    """
    tokens = responses = attended = 0
    for pair in pairs:
        prompt, lengths = len(pair.prompt), [len(response) for response in pair.responses]
        tokens += prompt + sum(lengths)
        responses += sum(lengths)
        attended += prompt * (prompt + 1) // 2
        attended += sum(length * prompt + length * (length + 1) // 2 for length in lengths)
    return (
        6.0 * (shape.blocks * tokens + shape.head * responses) + 12.0 * shape.layers * shape.attention_width * attended
    )


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Of one device at the training's precision; None where it is not known: then utilization is reported as 0.

    `precision` is the spec's. Float32 has no entry: whether a GPU rounds its inputs to TF32 is a matter of settings.
    """
    if device.type != "cuda" or precision != "BFloat16":
        return None
    name = torch.cuda.get_device_name(device)
    return peak_of(name)


def peak_of(name: str) -> float | None:
    """By a device's name, such as "NVIDIA H100 80GB HBM3"."""
    words = name.replace("-", " ").split()
    known = [key for key in PEAK_BF16_FLOPS if all(word in words for word in key.split())]
    return PEAK_BF16_FLOPS[max(known, key=len)] if known else None


class Meter:
    """Rates over the steps since it was made or last read; made on every rank, read by all alike."""

    def __init__(self, shape: Shape, ranks: Ranks, precision: str) -> None:
        self._shape = shape
        self._ranks = ranks
        self._peak = peak_flops(ranks.device, precision)
        self._started = time.monotonic()
        self._pairs = self._tokens = 0
        self._flops = 0.0

    def add(self, pairs: Iterable[Pair]) -> None:
        """A step's pairs, those of all ranks."""
        step = list(pairs)
        self._pairs += len(step)
        self._tokens += sum(pair.tokens for pair in step)
        self._flops += training_flops(self._shape, step)

    def read(self, memory_gib: float) -> dict[str, float]:
        """Rates since the last reading, over all ranks; `memory_gib` is what `memory_peak` said, the largest of ranks."""
        now = time.monotonic()
        seconds = max(now - self._started, 1e-9)
        available = (self._peak or 0.0) * self._ranks.size
        rates = {
            "tokensPerSecond": self._tokens / seconds,
            "pairsPerSecond": self._pairs / seconds,
            "mfu": self._flops / seconds / available if available else 0.0,
            "memoryGiB": memory_gib,
        }
        self._started, self._pairs, self._tokens, self._flops = now, 0, 0, 0.0
        return rates


def memory_peak(device: torch.device) -> float:
    """GiB at most held so far: by tensors on the GPU, or by the process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Five digits, for people."""
    return {name: float(f"{value:.5g}") for name, value in values.items()}
