"""Preference pairs of the tiny model, and log-probs of them as a plain padded trainer computes them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selm_runtime.train.pairs import Pair
from support.train_world import pair_record

ALPHA, BETA = 0.5, 0.1


def make_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Pairs whose explored response is the chosen one, the rejected one or a third, in turn."""
    chance = random.Random(seed)
    records = [pair_record(row, chance) for row in range(count)]
    return [
        Pair(
            record["row"],
            *(tuple(record[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")),
            explored=(tuple(record["explored_ids"]),),
        )
        for record in records
    ]


def response_of(pair: Pair, role: str) -> tuple[int, ...]:
    """The pair's response in a role; of the explored ones the first."""
    response: tuple[int, ...] = pair.explored[0] if role == "explored" else getattr(pair, role)
    return response


def constants_of(pairs: Sequence[Pair], role: str) -> Tensor:
    """Summed log-probs that stand in for a reference's, [pairs]: of the row and the role alone."""
    return torch.tensor([-20.0 - (7 * pair.row + len(role)) % 11 for pair in pairs])


def padded_sums(model: nn.Module, rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> Tensor:
    """Summed response log-probs [rows] of one right-padded batch with an attention mask and full logits."""
    width = max(len(prompt) + len(response) for prompt, response in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask, label = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        mask[row, :end] = 1
        label[row, len(prompt) : end] = True
    log_probs = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    picked = log_probs[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    return (picked * label[:, 1:]).sum(1)
