"""One active operator, by a Lease of coordination.k8s.io/v1, by the rules of client-go's leader election.

A lease is taken over only after it stood unchanged for its duration on this process' own clock, so that clocks of two
machines are never compared. It keeps two healthy operators from working at once; it fences nothing: a paused leader can
wake late. What fences it are the preconditions of its writes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from selm_operator.constants import LEASE_NAME
from selm_operator.kube import LEASES, Api, ApiError, Json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds. `duration` > `renew_deadline` > `retry`, or two operators can hold the lease."""

    duration: float
    renew_deadline: float
    retry: float

    def __post_init__(self) -> None:
        if not self.duration > self.renew_deadline > self.retry > 0:
            raise ValueError(f"lease times {self} must have duration > renew_deadline > retry > 0")


class LeaseHolder:
    """Acquires and renews the Lease; `held` is true while no other can have taken it over."""

    def __init__(self, api: Api, namespace: str, identity: str, times: LeaseTimes, *, name: str = LEASE_NAME) -> None:
        self.api, self.namespace, self.identity, self.times, self.name = api, namespace, identity, times, name
        self._seen: tuple[str, float] | None = None  # another holder's record as last read, and when it last changed
        self._renewed: float | None = None
        self._taken = False
        self._away = False
        self._answered: float | None = None  # when the API server last answered

    def silence(self) -> str | None:
        """Whether the API server has not answered for the Lease's duration: asked every few seconds, held or not."""
        if self._answered is None:
            return "the API server has not answered yet"
        seconds = self._now() - self._answered
        return f"the API server has not answered for {seconds:.0f} s" if seconds > self.times.duration else None

    @property
    def held(self) -> bool:
        """Whether an effect may still be begun. False once the renewals stopped for the deadline."""
        return self._renewed is not None and self._now() - self._renewed < self.times.renew_deadline

    async def acquire(self) -> None:
        """Returns once the Lease is held."""
        while not await self._try():
            await asyncio.sleep(self.times.retry * random.uniform(1.0, 1.2))
        log.info("holding the lease %s/%s as %s", self.namespace, self.name, self.identity)

    async def keep(self) -> None:
        """Renews until another one holds the Lease, then returns: the process must end.

        While the API server is away nothing is lost yet: `held` is false after the deadline, so that nothing is begun,
        and where nobody took the Lease meanwhile, it is renewed.
        """
        while not self._taken:
            await asyncio.sleep(self.times.retry)
            await self._try()
        log.error("the lease %s/%s is lost to another operator", self.namespace, self.name)

    async def release(self) -> None:
        """Gives the Lease away at once, so that a successor need not wait. Best effort: it expires anyway."""
        if self._renewed is None:
            return
        self._renewed = None
        try:
            lease = await self.api.get(LEASES, self.namespace, self.name)
            if lease["spec"].get("holderIdentity") == self.identity:
                spec = {**lease["spec"], "leaseDurationSeconds": 1}
                del spec["holderIdentity"]  # "" is refused
                await self.api.replace(LEASES, self.namespace, {**lease, "spec": spec})
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("the lease %s/%s was not released: %r", self.namespace, self.name, error)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _try(self) -> bool:
        begun = self._now()  # the record's age counts from before the request, on the safe side
        try:
            taken = await self._write()
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            if not self._away:
                log.warning(
                    "the lease %s/%s cannot be written: %s %s", self.namespace, self.name, type(error).__name__, error
                )
            self._away = True
            return False
        self._answered = self._now()
        if self._away:
            log.info("the API server answers again")
        self._away = False
        if taken:
            self._renewed = begun
        elif taken is False and self._renewed is not None:
            self._renewed, self._taken = None, True
        return taken is True

    async def _write(self) -> bool | None:
        """Whether the Lease is ours now; None where a write crossed another one, and nothing is known yet."""
        try:
            lease = await self.api.get(LEASES, self.namespace, self.name)
        except ApiError as error:
            if error.code != 404:
                raise
            return await self._create()
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self.identity) and not self._expired(spec):
            return False
        now = _micro_time()
        changed: Json = {
            **spec,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._duration(),
            "renewTime": now,
        }
        if holder != self.identity:
            changed |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        return await _unless_conflict(lambda: self.api.replace(LEASES, self.namespace, {**lease, "spec": changed}))

    async def _create(self) -> bool | None:
        now = _micro_time()
        lease: Json = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": self._duration(),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }
        return await _unless_conflict(lambda: self.api.create(LEASES, self.namespace, lease))

    def _duration(self) -> int:
        return max(1, round(self.times.duration))

    def _expired(self, spec: Json) -> bool:
        record = f"{spec.get('holderIdentity')} {spec.get('renewTime')} {spec.get('leaseTransitions')}"
        if self._seen is None or self._seen[0] != record:
            self._seen = (record, self._now())
        stated = float(spec.get("leaseDurationSeconds") or 0)
        return self._now() - self._seen[1] >= min(stated, self.times.duration) if stated else True


async def _unless_conflict(write: Callable[[], Awaitable[Json]]) -> bool | None:
    try:
        await write()
    except ApiError as error:
        if error.code == 409:
            return None
        raise
    return True


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
