"""A watch of the runs' Jobs alone, by label: kopf would list and keep every Job of the cluster.

What is decided by is kept in a `JobStore`; an event wakes the Job's run. A relist wakes every run that has a Job.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import aiohttp

from selm_operator.constants import LABEL_RUN, LABEL_RUN_UID
from selm_operator.job_store import JobStore
from selm_operator.kube import JOBS, ApiError, Json, KubeClient

log = logging.getLogger(__name__)

SILENCE_SECONDS = 75.0
"""A watch tells something every minute (bookmarks); after this long its Jobs are not relied on."""

RunKey = tuple[str, str]
"""Namespace and name of a run."""


def run_of(job: Json) -> RunKey | None:
    """The run that a Job belongs to, by its labels."""
    name = (job["metadata"].get("labels") or {}).get(LABEL_RUN)
    return None if name is None else (job["metadata"]["namespace"], name)


class JobsWatch:
    """Wakes runs whose Jobs change, in one namespace or in all (None), until cancelled."""

    def __init__(
        self, client: KubeClient, namespace: str | None, wake: Callable[[RunKey], None], *, seconds: float = 300.0
    ) -> None:
        self.client, self.namespace, self.wake, self.seconds = client, namespace, wake, seconds
        self.moved: float | None = None
        """When it last heard, or tried to hear, on the loop's clock."""
        self.failure: str | None = "the Jobs are not listed yet"
        """What is wrong now; None while the watch is open."""
        self.store = JobStore()
        self.heard = float("-inf")
        """When the API server last told anything, on the loop's clock; never before the first list."""

    def stands_still(self, limit: float) -> str | None:
        """Whether it has neither heard nor tried for `limit` seconds: its requests all end by themselves earlier."""
        if self.moved is None:
            return None
        silent = asyncio.get_running_loop().time() - self.moved
        return f"silent for {silent:.0f} s" if silent > limit else None

    def problem(self) -> str | None:
        return self.failure

    def store_if_alive(self) -> JobStore | None:
        """The Jobs, while the watch has listed them and was not silent for longer than bookmarks leave it."""
        silent = asyncio.get_running_loop().time() - self.heard
        return self.store if silent < SILENCE_SECONDS else None

    async def run(self) -> None:
        failures = 0
        while True:
            self._move()
            try:
                version = await self.relist()
                self.failure = None
                while True:
                    version = await self.follow(version)
                    failures = 0
            except ApiError as error:
                if error.code == 410:
                    log.info("the watch of Jobs is too old, listing again")
                    continue
                failures += 1
                self.failure = str(error)
                log.warning("the watch of Jobs failed: %s", error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                failures += 1
                self.failure = repr(error)
                log.warning("the watch of Jobs broke off: %r", error)
            await asyncio.sleep(min(0.5 * 2 ** min(failures, 7), 30.0) * random.uniform(0.75, 1.25))

    async def relist(self) -> str:
        """Wakes all runs that have Jobs; the version to watch from."""
        listed = await self.client.list(JOBS, self.namespace, labels=LABEL_RUN_UID)
        version = str(listed["metadata"]["resourceVersion"])
        jobs = listed.get("items") or []
        self.store.replace(jobs, int(version))
        self.heard = asyncio.get_running_loop().time()
        for job in jobs:
            self.note(job)
        return version

    async def follow(self, version: str) -> str:
        """One watch until the server ends it; the version to go on from. A broken stream loses no event that way."""
        events = self.client.watch(JOBS, self.namespace, labels=LABEL_RUN_UID, version=version, seconds=self.seconds)
        async for event in events:
            self._move()
            version = str(event["object"]["metadata"]["resourceVersion"])
            self.heard = asyncio.get_running_loop().time()
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                self.store.remove(event["object"])
            else:
                self.store.put(event["object"])
            self.note(event["object"])
        self._move()
        return version

    def _move(self) -> None:
        self.moved = asyncio.get_running_loop().time()

    def note(self, job: Json) -> None:
        key = run_of(job)
        if key is not None:
            self.wake(key)
