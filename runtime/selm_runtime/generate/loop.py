"""The loop between plans and the engine: which requests are in flight, when a chunk is whole."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from selm_runtime.engine import Completion, Request
from selm_runtime.generate.requests import ChunkPlan
from selm_runtime.generate.responses import ChunkResponses
from selm_runtime.phase import StopFlag
from selm_runtime.reporting import Reporter

REQUESTS_AHEAD = 1024
"""With `reproducible: false`: a further chunk is handed over while fewer requests than this are unfinished."""


class RequestEngine(Protocol):
    """What the loop needs of an engine."""

    def submit(self, request: Request) -> None: ...
    def step(self) -> list[Completion]: ...
    def forget(self) -> None: ...
    @property
    def unfinished(self) -> int: ...


def generate_chunks(
    engine: RequestEngine, plans: Sequence[ChunkPlan], reporter: Reporter, stop: StopFlag, *, reproducible: bool
) -> Iterator[ChunkResponses]:
    """Yields chunks as they become whole: one after the other if `reproducible`, else in any order.

    A reproducible chunk has the engine to itself from a cold prefix cache. Reports an `engine-call` a chunk, and
    progress by prompts. Raises TemporaryFailure between two steps of the engine once the pod was asked to go.
    """
    waiting = deque(plans)
    open_chunks: dict[int, _OpenChunk] = {}
    chunk_of: dict[str, int] = {}
    meter = _Meter(reporter, sum(plan.prompts for plan in plans))
    while waiting or open_chunks:
        while waiting and (not open_chunks if reproducible else engine.unfinished < REQUESTS_AHEAD):
            stop.check()
            plan = waiting.popleft()
            if reproducible:
                engine.forget()
            reporter.event("engine-call", chunk=plan.chunk, requests=len(plan.responses))
            open_chunks[plan.chunk] = _OpenChunk(plan)
            for planned in plan.responses:
                chunk_of[planned.request.key] = plan.chunk
                engine.submit(planned.request)
        stop.check()
        for completion in engine.step():
            chunk = chunk_of.pop(completion.key)
            open_chunks[chunk].add(completion)
            meter.add(completion, len(open_chunks[chunk].plan.responses) / open_chunks[chunk].plan.prompts)
        for chunk in [chunk for chunk, held in open_chunks.items() if held.whole]:
            yield open_chunks.pop(chunk).responses()


class _OpenChunk:
    """A chunk in flight."""

    def __init__(self, plan: ChunkPlan) -> None:
        self.plan = plan
        self._completions: dict[str, Completion] = {}

    def add(self, completion: Completion) -> None:
        self._completions[completion.key] = completion

    @property
    def whole(self) -> bool:
        return len(self._completions) == len(self.plan.responses)

    def responses(self) -> ChunkResponses:
        """In the plan's order, whatever order they became ready in."""
        return ChunkResponses(
            self.plan, tuple(self._completions[planned.request.key] for planned in self.plan.responses)
        )


class _Meter:
    """Progress in prompts and the tokens a second of what is finished."""

    def __init__(self, reporter: Reporter, prompts: int) -> None:
        self._reporter = reporter
        self._prompts = prompts
        self._responses = 0.0
        self._tokens = 0
        self._started = time.monotonic()

    def add(self, completion: Completion, responses_per_prompt: float) -> None:
        self._responses += 1 / responses_per_prompt
        self._tokens += len(completion.ids)
        seconds = max(time.monotonic() - self._started, 1e-9)
        done = min(self._prompts, int(self._responses + 1e-6))
        self._reporter.progress(
            done=done, total=self._prompts, unit="prompts", tokens_per_second=round(self._tokens / seconds, 2)
        )
