"""What is told while responses are made: the chunks begun, and prompts done with the rate of tokens."""

from __future__ import annotations

import time
from typing import Protocol

from selm_runtime.engine import Completion
from selm_runtime.generate.requests import ChunkPlan
from selm_runtime.reporting import Reporter


class Observer(Protocol):
    """Told by the loop, in the engine's process."""

    def began(self, plan: ChunkPlan) -> None: ...
    def finished(self, plan: ChunkPlan, completion: Completion) -> None: ...


class Meter:
    """An `engine-call` event a chunk, and progress lines in prompts with the tokens a second of what is finished."""

    def __init__(self, reporter: Reporter, prompts: int) -> None:
        self._reporter = reporter
        self._prompts = prompts
        self._done = 0.0
        self._tokens = 0
        self._started = time.monotonic()

    def began(self, plan: ChunkPlan) -> None:
        """A chunk was handed to an engine."""
        self._reporter.event("engine-call", chunk=plan.chunk, requests=len(plan.responses))

    def finished(self, plan: ChunkPlan, completion: Completion) -> None:
        """A response is whole."""
        self.advance(share_of_prompt(plan), len(completion.ids))

    def advance(self, prompts: float, tokens: int) -> None:
        """That many more prompts (in parts where a prompt has several responses) and tokens."""
        self._done += prompts
        self._tokens += tokens
        seconds = max(time.monotonic() - self._started, 1e-9)
        # Parts of a prompt add up to a little less than one; a chunk that is made again counts twice, never beyond all.
        done = min(self._prompts, int(self._done + 1e-6))
        self._reporter.progress(
            done=done, total=self._prompts, unit="prompts", tokens_per_second=round(self._tokens / seconds, 2)
        )


def share_of_prompt(plan: ChunkPlan) -> float:
    """What one response of the plan is of a prompt."""
    return plan.prompts / len(plan.responses)
