"""Finds out whether the watch of SELMRuns still tells everything, and looks after what it does not tell.

A watch can die while its process lives. kopf watches the runs and tells nobody how that goes, so the runs are listed
now and then, their metadata alone, and compared with what the watch told last: a version that stood in two lists, one
interval apart, and that the watch has not told, was missed. The run is woken at once; the process asks to be restarted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import aiohttp

from selm_operator.jobs_watch import RunKey
from selm_operator.kube import RUNS, ApiError, KubeClient

log = logging.getLogger(__name__)


class RunsAudit:
    """Compares, every `seconds`, the runs that exist with those that `note` was told of."""

    def __init__(
        self,
        client: KubeClient,
        namespaces: tuple[str | None, ...],
        wake: Callable[[RunKey], None],
        *,
        seconds: float,
    ) -> None:
        self.client, self.namespaces, self.wake, self.seconds = client, namespaces, wake, seconds
        self.told: dict[str, str] = {}
        """By uid, the version that the watch told last."""
        self.untold: dict[str, str] = {}
        """By uid, versions that the last list had and the watch had not told."""
        self.missed: str | None = None

    def note(self, uid: str, version: str, *, gone: bool = False) -> None:
        """The watch told of a run."""
        if gone:
            self.told.pop(uid, None)
        else:
            self.told[uid] = version

    def problem(self) -> str | None:
        """What the watch has missed, if it has missed anything."""
        return self.missed

    async def run(self) -> None:
        """Compares until cancelled. An API server that is away is the readiness' business, not this one's."""
        while True:
            await asyncio.sleep(self.seconds)
            try:
                await self.compare()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("the runs cannot be listed: %r", error)

    async def compare(self) -> None:
        """One list of the runs. Raises ApiError, aiohttp's errors, TimeoutError."""
        known_before = set(self.told)
        listed: dict[str, tuple[RunKey, str]] = {}
        for namespace in self.namespaces:
            answer = await self.client.list(RUNS, namespace, metadata_only=True)
            for run in answer.get("items") or ():
                metadata = run["metadata"]
                key = (metadata["namespace"], metadata["name"])
                listed[metadata["uid"]] = (key, metadata["resourceVersion"])
        untold = {uid: version for uid, (_, version) in listed.items() if self.told.get(uid) != version}
        for uid in untold:
            self.wake(listed[uid][0])
        twice = [uid for uid, version in untold.items() if self.untold.get(uid) == version]
        if twice:
            (namespace, name), version = listed[twice[0]]
            self.missed = f"the watch of SELMRuns has not told of version {version} of {namespace}/{name} for {self.seconds:.0f} s"
            log.error("%s", self.missed)
        self.untold = untold
        for uid in known_before - listed.keys():
            self.told.pop(uid, None)
