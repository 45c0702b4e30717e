"""How fast and how large a training is: rates, model FLOPs utilization and memory. Never part of a manifest."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selm_runtime.data.turns import in_loss
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


ALL_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
CHOSEN_EXPERTS = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts")
"""Config fields of how many experts a layer has, and to how many a token is sent."""


@dataclass(frozen=True)
class Shape:
    """What a causal language model costs: parameters of the blocks, of the output head, layers and attention width.

    Of a block's experts those count that a token is sent to.
    `adapters`: parameters that are trained in place of all those, which then are frozen; None: all are trained.
    """

    blocks: int
    head: int
    layers: int
    attention_width: int
    adapters: int | None = None

    @classmethod
    def of(cls, config: Any, parameters: int, *, experts: int = 0, adapters: int | None = None) -> Shape | None:
        """From a Hugging Face config and the number of its parameters, tied ones counted once; None where it is silent.

        `experts`: how many of the parameters belong to experts that a router chooses among. Embeddings are looked up, not multiplied: they are in neither `blocks` nor `head`, unless tied to the head.
        """
        names = ("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers")
        if not all(isinstance(getattr(config, name, None), int) for name in names):
            return None
        head = config.vocab_size * config.hidden_size
        embeddings = head if config.tie_word_embeddings else 2 * head
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        idle = 0
        if experts:
            chosen, there = _first_of(config, CHOSEN_EXPERTS), _first_of(config, ALL_EXPERTS)
            if chosen is None or there is None:
                return None
            idle = experts - round(experts * chosen / there)
        return cls(
            blocks=parameters - embeddings - idle,
            head=head,
            layers=config.num_hidden_layers,
            attention_width=width * config.num_attention_heads,
            adapters=adapters,
        )


def is_of_expert(name: str) -> bool:
    """Whether a parameter of that name belongs to experts that a router chooses among; shared ones serve every token."""
    return ".experts." in name


def _first_of(config: Any, names: Sequence[str]) -> int | None:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


@dataclass(frozen=True)
class Lengths:
    """Tokens of a pair's prompt and of each of its distinct responses."""

    prompt: int
    responses: tuple[int, ...]
    only_read: int = 0
    """Of the responses' tokens, those that are not predicted: a tool's or user's words between turns."""

    @classmethod
    def of(cls, pair: Pair) -> Lengths:
        only_read = sum(not in_loss(token) for response in pair.responses for token in response)
        return cls(len(pair.prompt), tuple(len(response) for response in pair.responses), only_read)

    @property
    def tokens(self) -> int:
        """Distinct ones: the prompt once, each distinct response once."""
        return self.prompt + sum(self.responses)


def training_flops(shape: Shape, pairs: Iterable[Lengths]) -> float:
    """Useful products of one optimizer step: forward and backward, nothing that is padding, a repetition or a recompute.

    6 x block parameters x distinct tokens, 6 x head parameters x predicted tokens, and for attention 12 x layers x width
    x the (query, key) pairs that the causal mask lets through. Frozen weights count 4, they have no gradient of their
    own, and the adapters' parameters 6.
    """
    tokens = predicted = attended = 0
    for pair in pairs:
        tokens += pair.tokens
        predicted += sum(pair.responses) - pair.only_read
        attended += pair.prompt * (pair.prompt + 1) // 2
        attended += sum(length * pair.prompt + length * (length + 1) // 2 for length in pair.responses)
    passes = 6.0 if shape.adapters is None else 4.0
    matrices = passes * (shape.blocks * tokens + shape.head * predicted) + 6.0 * (shape.adapters or 0) * tokens
    return matrices + 12.0 * shape.layers * shape.attention_width * attended


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
    """Rates over the steps that were added since it was made or last reset; equal on all ranks but for their clocks."""

    def __init__(self, shape: Shape | None, ranks: Ranks, precision: str) -> None:
        """Without a shape utilization is 0, as on hardware whose peak is not known."""
        self._shape = shape
        self._available = (peak_flops(ranks.device, precision) or 0.0) * ranks.size
        self.reset()

    def reset(self) -> None:
        """Begin a new window."""
        self._started = time.monotonic()
        self._pairs = self._tokens = 0
        self._flops = 0.0

    def add(self, pairs: Iterable[Lengths]) -> None:
        """A step's pairs, those of all ranks."""
        step = list(pairs)
        self._pairs += len(step)
        self._tokens += sum(pair.tokens for pair in step)
        self._flops += training_flops(self._shape, step) if self._shape else 0.0

    def rates(self, memory_gib: float) -> dict[str, float]:
        """Over all ranks and the window so far; `memory_gib` is the largest `memory_peak` of the ranks."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        return {
            "tokensPerSecond": self._tokens / seconds,
            "pairsPerSecond": self._pairs / seconds,
            "mfu": self._flops / seconds / self._available if self._available else 0.0,
            "memoryGiB": memory_gib,
        }


def memory_peak(device: torch.device) -> float:
    """GiB at most held so far: by tensors on the GPU, or by the process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Five digits, for people."""
    return {name: float(f"{value:.5g}") for name, value in values.items()}
