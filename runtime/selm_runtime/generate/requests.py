"""From a chunk's rows to the requests that the engine gets: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selm_runtime.contract import PhaseConfig
from selm_runtime.engine import Request
from selm_runtime.generate.seeds import ROWS, request_seed

CURRENT = "Current"
"""The policy that this iteration starts from."""


@dataclass(frozen=True)
class Prompt:
    """A row's prompt as token ids, chat template applied and cut to `spec.training.maxPromptLength`."""

    row: int
    ids: tuple[int, ...]
    cut: bool = False
    """Whether it was longer than that."""


@dataclass(frozen=True)
class PlannedResponse:
    """One response that a chunk needs, in the order of the chunk's table."""

    prompt: Prompt
    policy: str
    sample: int
    request: Request


@dataclass(frozen=True)
class ChunkPlan:
    """All responses of one chunk: prompt by prompt, sample by sample."""

    chunk: int
    responses: tuple[PlannedResponse, ...]
    prompts: int


def plan_chunk(chunk: int, prompts: Sequence[Prompt], config: PhaseConfig, policy: str = CURRENT) -> ChunkPlan:
    """The requests of an iteration's chunk: `samplesPerPrompt` of every prompt, each with a seed of its own."""
    samples = range(config.generation.samples_per_prompt)
    return ChunkPlan(
        chunk,
        tuple(
            _plan(prompt, policy, sample, config.seed, config.iteration, ROWS)
            for prompt in prompts
            for sample in samples
        ),
        len(prompts),
    )


def plan_held_out(prompts: Sequence[Prompt], run_seed: int, purpose: str) -> ChunkPlan:
    """One response a held-out prompt, with the same seeds in every iteration."""
    return ChunkPlan(0, tuple(_plan(prompt, CURRENT, 0, run_seed, 0, purpose) for prompt in prompts), len(prompts))


def _plan(prompt: Prompt, policy: str, sample: int, run_seed: int, iteration: int, purpose: str) -> PlannedResponse:
    seed = request_seed(run_seed, iteration, prompt.row, policy, sample, purpose)
    return PlannedResponse(prompt, policy, sample, Request(f"{prompt.row}:{policy}:{sample}", prompt.ids, seed))
