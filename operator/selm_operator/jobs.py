"""Where a pass has its run's Jobs from: the API server's list, or what the watch of Jobs keeps in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from selm_operator.constants import LABEL_ITERATION, LABEL_RUN_UID
from selm_operator.job_store import JobStore
from selm_operator.kube import JOBS, Api, Json, owner_uid
from selm_operator.snapshot import JobView, RunView, read_job


class Jobs(Protocol):
    """The Jobs of a run at or beside the iteration at work: a long run leaves hundreds. With `everything`, all of them.

    An older one that a stale leader makes is not seen; its pods find their phase committed and end at once.
    """

    async def of_run(self, run: RunView, *, everything: bool = False) -> tuple[JobView, ...]: ...

    def making(self, manifest: Json) -> None:
        """A POST of this Job is about to be sent; whether it arrives is not known until `made`."""

    def made(self, job: Json) -> None:
        """The API server has answered the POST with this Job, or found that it is there."""


class ListedJobs:
    """A list a pass: right whatever was missed, and as dear as all Jobs of the namespace."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def of_run(self, run: RunView, *, everything: bool = False) -> tuple[JobView, ...]:
        """Raises what the request raises."""
        return views(await list_jobs(self.api, run, everything=everything), run)

    def making(self, manifest: Json) -> None:
        """The next list tells."""

    def made(self, job: Json) -> None:
        """The next list has it."""


class WatchedJobs:
    """From memory while the watch of the run's namespace is known to be alive, else by a list.

    `store_of` gives the store of a namespace, None while its watch has not listed or has been silent for too long.
    """

    def __init__(self, api: Api, store_of: Callable[[str], JobStore | None]) -> None:
        self.api, self.store_of = api, store_of
        self.unsure: set[str] = set()
        """uids of runs whose store may lack a Job of ours: a POST was refused, or nobody knows whether it arrived."""

    async def of_run(self, run: RunView, *, everything: bool = False) -> tuple[JobView, ...]:
        """Raises what the request raises, where there is one."""
        store = self.store_of(run.namespace)
        if store is not None and run.uid not in self.unsure:
            near = iterations_near(run)
            return tuple(job for job in store.of_run(run.uid) if everything or job.iteration in near)
        jobs = await list_jobs(self.api, run, everything=everything)
        if store is not None:
            for job in jobs:
                store.put(job)
            self.unsure.discard(run.uid)
        return views(jobs, run)

    def making(self, manifest: Json) -> None:
        self.unsure.add(manifest["metadata"]["labels"][LABEL_RUN_UID])

    def made(self, job: Json) -> None:
        store = self.store_of(job["metadata"]["namespace"])
        if store is not None:
            store.put(job)
            self.unsure.discard(job["metadata"]["labels"][LABEL_RUN_UID])


async def list_jobs(api: Api, run: RunView, *, everything: bool) -> list[Json]:
    """The Jobs that carry the run's label."""
    selector = f"{LABEL_RUN_UID}={run.uid}"
    if not everything:
        selector += f",{LABEL_ITERATION} in ({','.join(str(iteration) for iteration in iterations_near(run))})"
    listed = await api.list(JOBS, run.namespace, labels=selector)
    return list(listed.get("items") or ())


def views(jobs: list[Json], run: RunView) -> tuple[JobView, ...]:
    """Those of them that the run controls."""
    found = (read_job(job) for job in jobs if owner_uid(job) == run.uid)
    return tuple(view for view in found if view is not None)


def iterations_near(run: RunView) -> range:
    """The iteration at work and its neighbours."""
    here = run.status.current.iteration if run.status.current else 0
    return range(max(0, here - 1), here + 2)
