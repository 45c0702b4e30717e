"""What arithmetic allows: the products that each contender has to make for the pairs that were drawn, counted.

Multiply-adds of the decoder's matrices, of causal attention and of the output head, each times its passes: forward 1,
backward 2, activations computed anew 1, the reference 1. Elementwise passes, memory traffic, optimizer and everything
of the host are not counted: what is measured above the ratio is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import AutoConfig

from train_world import BenchPair, Settings, body_and_head, read_pairs

Row = tuple[int, int]
"""A causal sequence: its tokens, and on how many of them the head runs."""


def allowed(work: Path, settings: Settings) -> dict[str, float]:
    """Multiply-adds of an epoch by contender, the reference's work included.

    TRL's default order is random: here batches are as the file has them, whose order is random as well.
    """
    pairs = read_pairs(work)
    config = AutoConfig.from_pretrained(work / "model")
    body, head = body_and_head(work)
    width = config.num_hidden_layers * config.num_attention_heads * config.head_dim

    def products(rows: Iterable[Row], *, decoder: int, head_passes: int) -> float:
        return sum(
            decoder * (body * tokens + width * tokens * (tokens + 1)) + head_passes * head * predicted
            for tokens, predicted in rows
        )

    def ours(explored: bool) -> float:
        total = 0.0
        for pair in pairs:
            responses = {tuple(r) for r in (pair.chosen, pair.rejected, *([pair.explored] if explored else []))}
            tokens, predicted = len(pair.prompt) + sum(map(len, responses)), sum(map(len, responses))
            attended = len(pair.prompt) * (len(pair.prompt) + 1) + sum(
                2 * len(r) * len(pair.prompt) + len(r) * (len(r) + 1) for r in responses
            )
            total += 4.0 * (body * tokens + width * attended + head * predicted)
        return total

    size = settings.batch_size
    by_length = sorted(pairs, key=lambda pair: len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)))
    return {
        "ours-dpo": ours(False),
        "trl-default": products(padded(pairs, size), decoder=5, head_passes=5),
        "trl-grouped": products(padded(by_length, size), decoder=4, head_passes=5),
        "trl-split": products(padded(pairs, 1), decoder=4, head_passes=5),
        "ours-selm": ours(True),
        "padded-selm": products([*padded(pairs, size), *padded(pairs, size, explored=True)], decoder=5, head_passes=4),
    }


def padded(pairs: Sequence[BenchPair], size: int, *, explored: bool = False) -> list[Row]:
    """Rows of batches of `size` pairs, each as long as its batch's longest; the head runs on all of it."""
    rows: list[Row] = []
    for start in range(0, len(pairs), size):
        lengths = [
            len(pair.prompt) + len(response)
            for pair in pairs[start : start + size]
            for response in ([pair.explored] if explored else [pair.chosen, pair.rejected])
        ]
        rows += [(max(lengths), max(lengths))] * len(lengths)
    return rows
