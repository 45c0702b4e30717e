"""The loops under comparison, on the trainer's own objectives (`selm_runtime.train.objectives`).

SELM's loop (arXiv 2405.19332, Algorithm 1): the reference is the previous policy; one response of it and an offline pair
of the initial policy are ranked, the best and the worst make the pair. XPO's loop (arXiv 2405.21046, Algorithm 1): the
reference stays the initial policy, a pair is one response of the policy and one of the reference, and every iteration
trains on all pairs so far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from science_problem import (
    DTYPE,
    PROMPTS,
    RECORDS,
    REGION_A,
    RESPONSES,
    SHARPNESS,
    Policy,
    Problem,
    Setting,
    gumbel,
)
from selm_runtime.contract import ObjectiveConfig
from selm_runtime.train.objectives import OBJECTIVES, Record, Sums

ITERATIONS, STEPS = 6, 30
OF_POLICY, OF_REFERENCE, OF_OFFLINE, OF_RANKING = range(4)
"""What a draw of noise is used for."""


@dataclass(frozen=True)
class Arm:
    """One method with its settings; `temperature` 0 takes the likeliest response, as the published code does."""

    name: str
    objective: Literal["SELM", "DPO", "XPO"]
    loop: Literal["SELM", "XPO"] = "SELM"
    alpha: float = 0.0
    beta: float = 0.5
    temperature: float = 1.0

    def config(self) -> ObjectiveConfig:
        return ObjectiveConfig.model_validate({"type": self.objective, "alpha": self.alpha, "beta": self.beta})

    def with_settings(self, **changes: float) -> Arm:
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Trajectory:
    """Of every learning rate and seed: reward, region B's mass [T + 1, L, S], explored log-ratio [T, L, S]."""

    reward: Tensor
    region_b: Tensor
    explored_log_ratio: Tensor


@dataclass(frozen=True)
class Pairs:
    """Indices [B, N] into a policy's flattened [X * Y] table, and the reference's log-probs of each."""

    chosen: Tensor
    rejected: Tensor
    explored: Tensor
    reference: Sums

    def joined(self, more: Pairs) -> Pairs:
        parts = ((getattr(self, name), getattr(more, name)) for name in ("chosen", "rejected", "explored"))
        chosen, rejected, explored = (torch.cat(both, -1) for both in parts)
        ours, theirs = self.reference, more.reference
        assert ours.explored is not None
        assert theirs.explored is not None
        reference = Sums(
            torch.cat([ours.chosen, theirs.chosen], -1),
            torch.cat([ours.rejected, theirs.rejected], -1),
            torch.cat([ours.explored, theirs.explored], -1),
        )
        return Pairs(chosen, rejected, explored, reference)


def run(problem: Problem, setting: Setting, arm: Arm) -> Trajectory:
    """All iterations of an arm, for every learning rate of the setting and every seed of the problem."""
    copies, seeds = len(setting.learning_rates), len(problem.seeds)
    policy = Policy(problem, setting.kind, copies)
    rates = torch.tensor(setting.learning_rates, dtype=DTYPE).repeat_interleave(seeds)
    rewards = problem.rewards.repeat(copies, 1, 1)
    initial = problem.initial.repeat(copies, 1, 1)
    seen: Pairs | None = None
    figures = [_measure(policy.log_probs().detach(), rewards)]
    ratios = []
    for iteration in range(ITERATIONS):
        current = policy.log_probs().detach()
        if arm.loop == "SELM":
            pairs = _ranked_of_three(problem, arm, iteration, current, initial, rewards, copies)
        else:
            fresh = _policy_against_reference(problem, arm, iteration, current, initial, rewards, copies)
            pairs = seen = fresh if seen is None else seen.joined(fresh)
        for _ in range(STEPS):
            policy.descend(_loss(policy.log_probs(), pairs, arm), rates)
        trained = policy.log_probs().detach()
        figures.append(_measure(trained, rewards))
        assert pairs.reference.explored is not None
        ratios.append((_taken(trained, pairs.explored) - pairs.reference.explored).mean(-1))
    shape = (copies, seeds)
    return Trajectory(
        reward=torch.stack([figure[0].view(shape) for figure in figures]),
        region_b=torch.stack([figure[1].view(shape) for figure in figures]),
        explored_log_ratio=torch.stack([ratio.view(shape) for ratio in ratios]),
    )


def _loss(log_probs: Tensor, pairs: Pairs, arm: Arm) -> Tensor:
    """The objective's mean over each problem's pairs, summed over the batch: gradients of problems do not mix."""
    reference = pairs.reference
    record = Record(
        policy=Sums(*(_taken(log_probs, index).flatten() for index in (pairs.chosen, pairs.rejected, pairs.explored))),
        reference=Sums(
            reference.chosen.flatten(),
            reference.rejected.flatten(),
            None if reference.explored is None else reference.explored.flatten(),
        ),
    )
    losses = OBJECTIVES[arm.objective].evaluate(record, arm.config()).losses
    return losses.view(pairs.chosen.shape).mean(-1).sum()


def _ranked_of_three(
    problem: Problem,
    arm: Arm,
    iteration: int,
    current: Tensor,
    initial: Tensor,
    rewards: Tensor,
    copies: int,
) -> Pairs:
    explored = _sampled(problem, iteration, OF_POLICY, current, arm.temperature, copies)
    offline = _scores(initial, gumbel(problem, iteration, OF_OFFLINE), 1.0, copies).topk(2, -1).indices
    candidates = torch.cat([explored.unsqueeze(-1), offline], -1)  # [B, N, 3]
    worth = _worth(problem, iteration, rewards, copies).gather(-1, candidates)
    chosen = candidates.gather(-1, worth.argmax(-1, keepdim=True)).squeeze(-1)
    rejected = candidates.gather(-1, worth.argmin(-1, keepdim=True)).squeeze(-1)
    return _pairs(chosen, rejected, explored, current)


def _policy_against_reference(
    problem: Problem,
    arm: Arm,
    iteration: int,
    current: Tensor,
    initial: Tensor,
    rewards: Tensor,
    copies: int,
) -> Pairs:
    ours = _sampled(problem, iteration, OF_POLICY, current, arm.temperature, copies)
    theirs = _sampled(problem, iteration, OF_REFERENCE, initial, 1.0, copies)
    worth = _worth(problem, iteration, rewards, copies)
    first = worth.gather(-1, ours.unsqueeze(-1)) >= worth.gather(-1, theirs.unsqueeze(-1))
    wins = first.squeeze(-1)
    return _pairs(
        torch.where(wins, ours, theirs),
        torch.where(wins, theirs, ours),
        theirs,
        initial,
    )


def _sampled(
    problem: Problem,
    iteration: int,
    use: int,
    log_probs: Tensor,
    temperature: float,
    copies: int,
) -> Tensor:
    """[B, N] responses, by Gumbel's trick; temperature 0: the likeliest."""
    if temperature == 0.0:
        return _by_record(log_probs).argmax(-1)
    return _scores(log_probs, gumbel(problem, iteration, use), temperature, copies).argmax(-1)


def _scores(log_probs: Tensor, noise: Tensor, temperature: float, copies: int) -> Tensor:
    return _by_record(log_probs) / temperature + noise.repeat(copies, 1, 1)


def _worth(problem: Problem, iteration: int, rewards: Tensor, copies: int) -> Tensor:
    """[B, N, Y]: a ranking by these is a Plackett-Luce draw; one response has one worth within a record."""
    return SHARPNESS * _by_record(rewards) + gumbel(problem, iteration, OF_RANKING).repeat(copies, 1, 1)


def _by_record(table: Tensor) -> Tensor:
    """[B, X, Y] -> [B, N, Y]: record n is of prompt n mod X."""
    return table.repeat(1, RECORDS // PROMPTS, 1)


def _pairs(chosen: Tensor, rejected: Tensor, explored: Tensor, reference: Tensor) -> Pairs:
    prompts = torch.arange(RECORDS).remainder(PROMPTS) * RESPONSES
    indices = [prompts + response for response in (chosen, rejected, explored)]
    return Pairs(*indices, Sums(*(_taken(reference, index) for index in indices)))


def _taken(log_probs: Tensor, index: Tensor) -> Tensor:
    return log_probs.flatten(1).gather(1, index)


def _measure(log_probs: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
    """[B] expected reward, and region B's mass, over prompts."""
    probabilities = log_probs.exp()
    return (probabilities * rewards).sum(-1).mean(-1), probabilities[..., REGION_A:].sum(-1).mean(-1)
