"""One keyed work queue: what client-go's workqueue gives controllers, in asyncio.

A key stands for a run. Waking it twice before it is looked at costs one look; waking it during a look costs one more
look afterwards; two looks at one key never overlap. A look says when it wants the next one; without a wish the key is
looked at again after the resync, with jitter, so that a lost event costs time and nothing else. A look that raises is
repeated with exponential back-off of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Again:
    """What a look answers: the next one is wanted after `seconds`; None leaves it to the resync."""

    seconds: float | None = None


@dataclass(frozen=True)
class Gone:
    """What a look answers where the key's object is no more: the key is forgotten until something wakes it."""


Look = Again | Gone


@dataclass(frozen=True)
class QueueTimes:
    """Seconds. `minimum` bounds every wish from below, so that no rule of decide can spin."""

    resync: float
    error_first: float
    error_max: float
    minimum: float = 0.05


class WorkQueue(Generic[Key]):
    """`process` is called for one key at a time, for at most `workers` keys at once.

    `on_start` is told the seconds that each look waited beyond the time that it was due.
    """

    def __init__(
        self,
        process: Callable[[Key], Awaitable[Look]],
        times: QueueTimes,
        *,
        workers: int,
        on_start: Callable[[float], None] | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self._process, self._times, self._workers, self._on_start = process, times, workers, on_start
        self._jitter = jitter or random.Random()
        self._due: dict[Key, float] = {}  # the earliest time, on the loop's clock, that each waiting key is wanted
        self._order: list[tuple[float, int, Key]] = []  # a heap of these; what `_due` no longer says is passed over
        self._entered = itertools.count()  # keys need no order of their own
        self._failures: dict[Key, int] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._begun: dict[Key, float] = {}  # when the look at work at each key began
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are due and wait for a worker."""
        now = asyncio.get_running_loop().time()
        return sum(1 for due in self._due.values() if due <= now)

    def stuck(self, limit: float) -> str | None:
        """Whether a look has been at work for more than `limit` seconds: every request of one ends earlier."""
        now = asyncio.get_running_loop().time()
        for key, begun in self._begun.items():
            if now - begun > limit:
                return f"the look at {key} has been at work for {now - begun:.0f} s"
        idle = len(self._running) < self._workers
        overdue = max((now - due for key, due in self._due.items() if key not in self._running), default=0.0)
        return f"a look is overdue by {overdue:.0f} s though workers are free" if idle and overdue > limit else None

    def add(self, key: Key) -> None:
        """Something may have changed: look at `key` as soon as possible."""
        self.add_after(key, 0.0)

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at `key` in `seconds`, or earlier where something earlier is due."""
        due = asyncio.get_running_loop().time() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._enter(key, due)
            self._changed.set()

    def _enter(self, key: Key, due: float) -> None:
        heapq.heappush(self._order, (due, next(self._entered), key))

    async def run(self) -> None:
        """Works until cancelled; then waits for the looks at work, which are cancelled too."""
        try:
            while True:
                self._changed.clear()
                pause = self._start_due()
                # Not `wait_for`: before Python 3.12 it loses a cancellation that comes in the moment of a wake-up.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start_due(self) -> float | None:
        """Starts what is due; the seconds until the next key is, or None where nothing waits for time alone."""
        now = asyncio.get_running_loop().time()
        while self._order:
            due, _, key = self._order[0]
            if self._due.get(key) != due or key in self._running:
                heapq.heappop(self._order)  # a look at work enters its key again when it ends
                continue
            if len(self._running) >= self._workers:
                return None  # a look that ends calls again
            if due > now:
                return due - now
            heapq.heappop(self._order)
            del self._due[key]
            self._begun[key] = now
            if self._on_start is not None:
                self._on_start(now - due)
            self._running[key] = asyncio.create_task(self._look(key), name=f"look at {key}")
        return None

    async def _look(self, key: Key) -> None:
        try:
            answer = await self._process(key)
        except Exception as error:  # noqa: BLE001 - whatever went wrong with one run, the others go on
            self._failures[key] = failures = self._failures.get(key, 0) + 1
            delay = min(self._times.error_first * 2.0 ** (failures - 1), self._times.error_max)
            log.warning("the look at %s failed (%s in a row), next in %.1f s: %r", key, failures, delay, error)
            self.add_after(key, delay)
        else:
            self._failures.pop(key, None)
            if isinstance(answer, Again):
                resync = self._times.resync * self._jitter.uniform(0.75, 1.25)
                wish = resync if answer.seconds is None else min(answer.seconds, resync)
                self.add_after(key, max(wish, self._times.minimum))
        finally:
            del self._running[key], self._begun[key]
            if key in self._due:
                self._enter(key, self._due[key])
            self._changed.set()
