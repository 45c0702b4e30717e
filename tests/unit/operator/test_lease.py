"""One active operator: two holders on one Lease, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from selm_operator.kube import LEASES, ApiError, Resource
from selm_operator.lease import LeaseHolder, LeaseTimes
from support.fake_cluster import FakeCluster
from support.fake_time import run_in_fake_time

TIMES = LeaseTimes(duration=15, renew_deadline=10, retry=2)
NAMESPACE = "selm-system"


def holder(cluster: FakeCluster, identity: str) -> LeaseHolder:
    return LeaseHolder(cluster, NAMESPACE, identity, TIMES)


def lease_of(cluster: FakeCluster) -> dict[str, object]:
    spec: dict[str, object] = cluster.objects[(LEASES.plural, NAMESPACE, "selm-operator")]["spec"]
    return spec


def now() -> float:
    return asyncio.get_running_loop().time()


def play(story: Callable[[FakeCluster], Awaitable[None]]) -> None:
    async def main() -> None:
        await story(FakeCluster())

    run_in_fake_time(main())


def test_the_first_takes_it_at_once_and_the_second_waits_while_it_is_renewed() -> None:
    async def story(cluster: FakeCluster) -> None:
        one, two = holder(cluster, "one"), holder(cluster, "two")
        await one.acquire()
        assert one.held
        keeping = asyncio.create_task(one.keep())
        waiting = asyncio.create_task(two.acquire())
        await asyncio.sleep(120)
        assert not waiting.done()
        assert not two.held
        assert not keeping.done()
        keeping.cancel()
        waiting.cancel()

    play(story)


def test_a_lease_that_is_not_renewed_is_taken_over_after_its_duration() -> None:
    async def story(cluster: FakeCluster) -> None:
        one, two = holder(cluster, "one"), holder(cluster, "two")
        await one.acquire()
        await two.acquire()
        assert 15 <= now() <= 20
        assert two.held
        assert not one.held
        assert lease_of(cluster)["leaseTransitions"] == 1

    play(story)


def test_the_old_holder_stops_before_the_new_one_can_begin() -> None:
    async def story(cluster: FakeCluster) -> None:
        one, two = holder(cluster, "one"), holder(cluster, "two")
        await one.acquire()
        cut_off = asyncio.create_task(two.acquire())
        for _ in range(40):
            await asyncio.sleep(0.5)
            assert not (one.held and two.held)
        assert cut_off.done()

    play(story)


def test_while_the_api_server_is_away_nothing_is_begun_and_afterwards_it_goes_on() -> None:
    async def story(cluster: FakeCluster) -> None:
        one = holder(cluster, "one")
        await one.acquire()

        def away(when: str, verb: str, resource: Resource, name: str) -> None:
            if 20 < now() < 100:
                raise ApiError(503, "ServiceUnavailable", "away")

        cluster.fault = away
        keeping = asyncio.create_task(one.keep())
        await asyncio.sleep(33)
        assert not one.held
        await asyncio.sleep(80)
        assert one.held
        assert not keeping.done()
        keeping.cancel()

    play(story)


def test_a_lease_taken_over_while_the_api_server_was_away_for_one_of_two_is_lost() -> None:
    async def story(cluster: FakeCluster) -> None:
        one, two = holder(cluster, "one"), holder(cluster, "two")
        await one.acquire()
        cut_off = True

        class Away(FakeCluster):
            """The same cluster, out of reach for the first operator."""

            async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, object]:
                if cut_off:
                    raise ApiError(503, "ServiceUnavailable", "away")
                return await cluster.get(resource, namespace, name)

        one.api = Away()
        keeping = asyncio.create_task(one.keep())
        await two.acquire()
        assert not one.held
        cut_off = False
        await asyncio.wait_for(keeping, 5)
        assert not one.held
        assert two.held

    play(story)


def test_a_short_absence_of_the_api_server_costs_nothing() -> None:
    async def story(cluster: FakeCluster) -> None:
        one = holder(cluster, "one")
        await one.acquire()

        def away(when: str, verb: str, resource: Resource, name: str) -> None:
            if 20 < now() < 27:
                raise TimeoutError

        cluster.fault = away
        keeping = asyncio.create_task(one.keep())
        await asyncio.sleep(60)
        assert not keeping.done()
        assert one.held
        keeping.cancel()

    play(story)


def test_releasing_lets_the_successor_in_at_once() -> None:
    async def story(cluster: FakeCluster) -> None:
        one, two = holder(cluster, "one"), holder(cluster, "two")
        await one.acquire()
        await one.release()
        assert not one.held
        assert "holderIdentity" not in lease_of(cluster)
        await two.acquire()
        assert now() < 1

    play(story)


def test_a_lease_that_another_took_meanwhile_is_lost_at_once() -> None:
    async def story(cluster: FakeCluster) -> None:
        one = holder(cluster, "one")
        await one.acquire()
        lease_of(cluster)["holderIdentity"] = "two"
        keeping = asyncio.create_task(one.keep())
        await asyncio.wait_for(keeping, 5)
        assert not one.held

    play(story)


def test_of_two_that_write_at_once_one_wins() -> None:
    async def story(cluster: FakeCluster) -> None:
        def raced(when: str, verb: str, resource: Resource, name: str) -> None:
            if (when, verb) == ("before", "create"):
                cluster.fault = lambda *_: None
                cluster.store(
                    LEASES,
                    NAMESPACE,
                    {"metadata": {"name": name}, "spec": {"holderIdentity": "two", "leaseDurationSeconds": 15}},
                )

        cluster.fault = raced
        one = holder(cluster, "one")
        acquiring = asyncio.create_task(one.acquire())
        await asyncio.sleep(10)
        assert not acquiring.done()
        acquiring.cancel()

    play(story)


def test_times_that_would_let_two_hold_it_are_refused() -> None:
    with pytest.raises(ValueError, match="duration > renew_deadline > retry"):
        LeaseTimes(duration=10, renew_deadline=10, retry=2)
