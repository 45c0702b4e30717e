"""A problem with a known reward whose optimum lies outside the reference's mode, small enough to be solved in a batch.

16 prompts with 32 responses each. Region A (24 responses) holds nearly all of the initial policy's mass and rewards of
U(0, 0.6), likelier responses being better ones; region B (8 responses) holds the mass `region_b`, rewards of U(0.3, 0.9)
and one response of reward 1. Preferences are Plackett-Luce draws in 6 x reward. A policy is a softmax over the
responses of each prompt: of free logits (`tabular`), or of the initial logits plus 13 features shared by all prompts
(`features`), so that what is learnt of one response generalises to others; one feature says "region B".

Every tensor's first dimension is a batch of independent problems: seeds, and learning rates that share the seeds' draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PROMPTS, RESPONSES, REGION_A, FEATURES = 16, 32, 24, 13
RECORDS = 192
"""Pairs an iteration: 12 of each prompt."""
SHARPNESS = 6.0
"""Plackett-Luce utilities are this times the reward."""
LIKELIER_IS_BETTER = 2.0

DTYPE = torch.float32
Kind = Literal["tabular", "features"]


@dataclass(frozen=True)
class Setting:
    """One cell of the experiment."""

    name: str
    region_b: float
    kind: Kind
    learning_rates: tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """S seeds' problems: rewards and initial log-probs [S, X, Y], features [S, X, Y, K]."""

    rewards: Tensor
    initial: Tensor
    features: Tensor
    seeds: tuple[int, ...]


def make(setting: Setting, seeds: tuple[int, ...]) -> Problem:
    """The problems of some seeds; a seed's problem does not depend on the others."""
    parts = [_one(setting, seed) for seed in seeds]
    rewards, initial, features = (torch.stack([part[i] for part in parts]) for i in range(3))
    return Problem(rewards, initial, features, seeds)


def _one(setting: Setting, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    rewards = torch.empty(PROMPTS, RESPONSES, dtype=DTYPE)
    rewards[:, :REGION_A] = 0.6 * _uniform((PROMPTS, REGION_A), chance)
    rewards[:, REGION_A:] = 0.3 + 0.6 * _uniform((PROMPTS, RESPONSES - REGION_A), chance)
    rewards[:, REGION_A] = 1.0
    noise = 0.5 * torch.randn(PROMPTS, RESPONSES, generator=chance, dtype=DTYPE)
    in_a = (LIKELIER_IS_BETTER * rewards + noise)[:, :REGION_A].log_softmax(-1) + torch.tensor(
        1.0 - setting.region_b, dtype=DTYPE
    ).log()
    in_b = noise[:, REGION_A:].log_softmax(-1) + torch.tensor(setting.region_b, dtype=DTYPE).log()
    features = torch.randn(PROMPTS, RESPONSES, FEATURES, generator=chance, dtype=DTYPE)
    features[..., 0] = torch.arange(RESPONSES) >= REGION_A
    features[..., 1] = 1.5 * rewards + 0.5 * features[..., 1]  # what a model can know of a response's worth
    return rewards, torch.cat([in_a, in_b], -1), features


def gumbel(problem: Problem, iteration: int, use: int, count: int = RECORDS) -> Tensor:
    """[S, count, Y] standard Gumbel noise of a seed, an iteration and a use: the same for every arm of the experiment."""
    draws = []
    for seed in problem.seeds:
        chance = torch.Generator().manual_seed((seed * 1009 + iteration) * 31 + use)
        draws.append(-torch.log(-torch.log(_uniform((count, RESPONSES), chance).clamp(1e-7, 1.0 - 1e-7))))
    return torch.stack(draws)


def _uniform(shape: tuple[int, ...], chance: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=chance, dtype=DTYPE)


class Policy:
    """L x S policies, one for each learning rate and seed, as a batch [B, ...] with B = L * S."""

    def __init__(self, problem: Problem, kind: Kind, copies: int) -> None:
        self._initial = problem.initial.repeat(copies, 1, 1)
        self._features = problem.features.repeat(copies, 1, 1, 1) if kind == "features" else None
        batch = self._initial.shape[0]
        shape = (batch, FEATURES) if self._features is not None else (batch, PROMPTS, RESPONSES)
        self.parameters = torch.zeros(shape, dtype=DTYPE, requires_grad=True)

    def log_probs(self) -> Tensor:
        """[B, X, Y]."""
        moved = self.parameters
        if self._features is not None:
            moved = torch.einsum("bxyk,bk->bxy", self._features, self.parameters)
        return (self._initial + moved).log_softmax(-1)

    def descend(self, loss: Tensor, rates: Tensor) -> None:
        """One step of gradient descent; `loss` is a sum over the batch, `rates` [B]."""
        (gradient,) = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            self.parameters -= rates.view(-1, *[1] * (gradient.dim() - 1)) * gradient
