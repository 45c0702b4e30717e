"""The work queue, on a clock that jumps."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from selm_operator.queue import Again, Gone, Look, QueueTimes, WorkQueue
from support.fake_time import run_in_fake_time

TIMES = QueueTimes(resync=60, error_first=1, error_max=8)


class Log:
    """Times at which keys were looked at."""

    def __init__(self) -> None:
        self.looks: list[tuple[float, str]] = []

    def note(self, key: str) -> None:
        self.looks.append((round(asyncio.get_running_loop().time(), 3), key))

    def times(self, key: str = "a") -> list[float]:
        return [time for time, looked in self.looks if looked == key]


def played(
    process: Callable[[str, Log], Awaitable[Look]],
    script: Callable[[WorkQueue[str]], Awaitable[None]],
    seconds: float,
    workers: int = 4,
) -> Log:
    """The looks of a queue that runs for some (fake) seconds beside a script."""
    log = Log()

    async def look(key: str) -> Look:
        log.note(key)
        return await process(key, log)

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(look, TIMES, workers=workers)
        running = asyncio.create_task(queue.run())
        await script(queue)
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_in_fake_time(main())
    return log


async def gone(key: str, log: Log) -> Look:
    return Gone()


def test_many_keys_are_looked_at_in_the_order_of_their_times_and_an_earlier_wish_wins() -> None:
    async def script(queue: WorkQueue[str]) -> None:
        for number in range(50):
            queue.add_after(f"k{number:02d}", 100 - number)
        queue.add_after("k00", 1)
        queue.add_after("k00", 30)  # later than what is wanted already: says nothing

    log = played(gone, script, 200, workers=1)
    assert log.looks[0] == (1.0, "k00")
    assert [key for _, key in log.looks[1:]] == [f"k{number:02d}" for number in range(49, 0, -1)]


def test_a_key_that_is_wanted_at_a_time_during_its_look_is_looked_at_then() -> None:
    async def long_look(key: str, log: Log) -> Look:
        await asyncio.sleep(10)
        return Gone()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add_after("a", 4)  # comes due while the look is at work
        await asyncio.sleep(11)
        queue.add_after("a", 7)  # comes due after it

    assert played(long_look, script, 100).times() == [0.0, 10.0, 20.0]


def test_many_wakes_before_a_look_are_one_look() -> None:
    async def script(queue: WorkQueue[str]) -> None:
        for _ in range(100):
            queue.add("a")

    assert played(gone, script, 10).times() == [0]


def test_wakes_during_a_look_are_one_more_look_and_never_two_at_once() -> None:
    at_work = 0

    async def slow(key: str, log: Log) -> Look:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        await asyncio.sleep(5)
        at_work -= 1
        return Gone()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(1)
        for _ in range(10):
            queue.add("a")

    assert played(slow, script, 30).times() == [0, 5]


def test_a_wish_is_kept_and_an_event_comes_first() -> None:
    async def wishes(key: str, log: Log) -> Look:
        return Again(10) if len(log.looks) < 3 else Gone()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(14)
        queue.add("a")

    assert played(wishes, script, 100).times() == [0, 10, 14]


def test_a_key_that_nothing_wakes_is_looked_at_after_the_resync_with_jitter() -> None:
    async def content(key: str, log: Log) -> Look:
        return Again()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")

    times = played(content, script, 600).times()
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert all(45 <= gap <= 75 for gap in gaps)
    assert len(set(gaps)) > 1


def test_a_wish_beyond_the_resync_does_not_put_it_off() -> None:
    async def far(key: str, log: Log) -> Look:
        return Again(10_000)

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")

    assert len(played(far, script, 200).times()) >= 3


def test_a_look_that_fails_is_repeated_with_growing_waits_of_its_own() -> None:
    async def fails_for_a(key: str, log: Log) -> Look:
        if key == "a" and len(log.times("a")) < 7:
            raise RuntimeError("no")
        return Gone()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        queue.add("b")

    log = played(fails_for_a, script, 100)
    assert log.times("a") == [0, 1, 3, 7, 15, 23, 31]
    assert log.times("b") == [0]


def test_success_takes_the_back_off_back() -> None:
    async def second_fails(key: str, log: Log) -> Look:
        if len(log.looks) in (1, 2, 4):
            raise RuntimeError("no")
        return Again(10) if len(log.looks) < 5 else Gone()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")

    assert played(second_fails, script, 100).times() == [0, 1, 3, 13, 14]


def test_no_more_runs_than_workers_are_looked_at_at_once() -> None:
    at_work, most = 0, 0

    async def slow(key: str, log: Log) -> Look:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(1)
        at_work -= 1
        return Gone()

    async def script(queue: WorkQueue[str]) -> None:
        for number in range(9):
            queue.add(str(number))

    log = played(slow, script, 60, workers=3)
    assert (most, len(log.looks)) == (3, 9)


def test_a_wish_for_at_once_does_not_spin() -> None:
    async def at_once(key: str, log: Log) -> Look:
        return Again(0.0)

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")

    assert len(played(at_once, script, 1).times()) <= 21


def test_a_cancellation_in_the_moment_of_a_wake_up_is_not_lost() -> None:
    async def main() -> bool:
        async def look(_: str) -> Look:
            return Gone()

        queue: WorkQueue[str] = WorkQueue(look, TIMES, workers=1)
        running = asyncio.create_task(queue.run())
        queue.add_after("later", 50)  # so that it waits with a time
        await asyncio.sleep(1)
        queue.add("now")
        await asyncio.sleep(0)  # the waiter has been woken, the queue's own task has not run yet
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        ended = running.done()
        running.cancel()
        return ended

    assert run_in_fake_time(main())
