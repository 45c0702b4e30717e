"""The loop between plans and the engine: which requests are in flight, when a chunk is whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from selm_runtime.engine import Completion, Request
from selm_runtime.generate.progress import Meter, Observer
from selm_runtime.generate.requests import ChunkPlan
from selm_runtime.generate.responses import ChunkResponses
from selm_runtime.phase import StopFlag
from selm_runtime.reporting import Reporter


class RequestEngine(Protocol):
    """What the loop needs of an engine."""

    def submit(self, request: Request) -> None: ...
    def step(self) -> list[Completion]: ...
    def forget(self) -> None: ...
    def close(self) -> None: ...
    @property
    def unfinished(self) -> int: ...
    @property
    def capacity(self) -> int: ...


def generate_chunks(
    engine: RequestEngine, plans: Sequence[ChunkPlan], reporter: Reporter, stop: StopFlag, *, reproducible: bool
) -> Iterator[ChunkResponses]:
    """`run_chunks` over plans that are all known, reported as an `engine-call` a chunk and as progress by prompts."""
    meter = Meter(reporter, sum(plan.prompts for plan in plans))
    return run_chunks(engine, plans, meter, stop, reproducible=reproducible)


def run_chunks(
    engine: RequestEngine, plans: Iterable[ChunkPlan], observer: Observer, stop: StopFlag, *, reproducible: bool
) -> Iterator[ChunkResponses]:
    """Yields chunks as they become whole: one after the other if `reproducible`, else in any order.

    A plan is taken when the engine has room for it. A reproducible chunk has the engine to itself from a cold prefix
    cache; else a further chunk is handed over as soon as the engine could run more than it has, so that it never drains
    and as few chunks as possible are open when it is killed. Raises TemporaryFailure between two steps of the engine
    once the pod was asked to go.
    """
    coming = iter(plans)
    open_chunks: dict[int, _OpenChunk] = {}
    chunk_of: dict[str, int] = {}
    more = True
    while more or open_chunks:
        while more and (not open_chunks if reproducible else engine.unfinished < engine.capacity):
            stop.check()
            plan = next(coming, None)
            if plan is None:
                more = False
                break
            if reproducible:
                engine.forget()
            observer.began(plan)
            open_chunks[plan.chunk] = _OpenChunk(plan)
            for planned in plan.responses:
                chunk_of[planned.request.key] = plan.chunk
                engine.submit(planned.request)
        if not open_chunks:
            return
        stop.check()
        for completion in engine.step():
            chunk = open_chunks[chunk_of.pop(completion.key)]
            chunk.add(completion)
            observer.finished(chunk.plan, completion)
        for number in [number for number, held in open_chunks.items() if held.whole]:
            yield open_chunks.pop(number).responses()


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
