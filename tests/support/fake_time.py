"""An event loop whose clock jumps to the next timer instead of waiting for it: hours of back-off in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Answers at once, and moves the loop's clock by what it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and for nothing that will come")
        self.now += max(0.0, timeout)
        return super().select(0)


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """`loop.time()` begins at 0 and moves only when everything waits."""

    def __init__(self) -> None:
        self.fake = _JumpingSelector()
        super().__init__(self.fake)

    def time(self) -> float:
        return self.fake.now


def run_in_fake_time(main: Coroutine[Any, Any, T]) -> T:
    """Runs the coroutine to its end in a loop of its own."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(main)
