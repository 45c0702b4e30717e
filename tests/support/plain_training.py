"""Eq. 4.2 of arXiv 2405.19332 on plain transformers, one sequence at a time: shares no line with the trainer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.pairs import Pair


def plain_sum(model: nn.Module, pair: Pair, response: tuple[int, ...]) -> Tensor:
    """log pi(response | prompt), summed over the response's tokens."""
    log_probs = model(input_ids=torch.tensor([pair.prompt + response])).logits[0].log_softmax(-1)
    summed: Tensor = log_probs[len(pair.prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None]).sum()
    return summed


def plain_losses(
    policy: nn.Module, reference: nn.Module, pairs: Iterable[Pair], objective: ObjectiveConfig
) -> list[Tensor]:
    """The loss of each pair, which has one explored response."""
    losses = []
    for pair in pairs:
        ratio = {}
        (explored,) = pair.explored
        for role, response in (("chosen", pair.chosen), ("rejected", pair.rejected), ("explored", explored)):
            with torch.no_grad():
                constant = plain_sum(reference, pair, response)
            ratio[role] = plain_sum(policy, pair, response) - constant
        margin = objective.beta * (ratio["chosen"] - ratio["rejected"])
        losses.append(-torch.log(torch.sigmoid(margin)) + objective.alpha * objective.beta * ratio["explored"])
    return losses
