"""A cluster in memory with one run and one operator, for tests that tell a story in sentences."""

from __future__ import annotations

from typing import Any

from selm_operator.events import EventRecorder
from selm_operator.kube import JOBS, RUNS, Json
from selm_operator.queue import Again, Gone, Look
from selm_operator.reconcile import Reconciler
from selm_operator.settings import Settings
from support.fake_cluster import NAMESPACE, FakeCluster, digest
from support.run_builder import RunBuilder

SETTINGS = Settings(runtime_image="runtime:1")


class World:
    """The run is stored; nothing has looked at it yet."""

    def __init__(self, run: RunBuilder, settings: Settings = SETTINGS) -> None:
        self.cluster = FakeCluster()
        self.cluster.store(RUNS, NAMESPACE, run.obj())
        self.name = run.obj()["metadata"]["name"]
        recorder = EventRecorder(self.cluster, "test")
        self.reconciler = Reconciler(self.cluster, settings, recorder, clock=lambda: self.cluster.now)

    async def settle(self) -> Look:
        """Looks until nothing wants another look at once; what the last look wished for."""
        for _ in range(20):
            look = await self.reconciler((NAMESPACE, self.name))
            if isinstance(look, Gone) or look != Again(0.0):
                return look
        raise AssertionError("the operator does not come to rest")

    async def after(self, seconds: float) -> Look:
        """Time passes, and the operator looks."""
        self.cluster.sleep(seconds)
        return await self.settle()

    async def reach(self, phase: str, iteration: int = 1) -> Json:
        """Lets all phases before it commit; the active Job of the phase."""
        await self.settle()
        for _ in range(100):
            job = self.job
            labels = job["metadata"]["labels"]
            if (labels["selm.dev/phase"], labels["selm.dev/iteration"]) == (phase, str(iteration)):
                return job
            self.complete()
            await self.settle()
        raise AssertionError(f"{phase} of iteration {iteration} is not reached")

    async def finish(self) -> list[str]:
        """Lets every phase commit; the names of the Jobs from here on."""
        await self.settle()
        names = []
        while self.active_jobs():
            names.append(self.complete())
            await self.settle()
        return names

    @property
    def status(self) -> Json:
        status: Json = self.cluster.run(self.name)["status"]
        return status

    @property
    def current(self) -> Json:
        current: Json = self.status["current"]
        return current

    def condition(self, type_: str) -> Json:
        return next(c for c in self.status["conditions"] if c["type"] == type_)

    def is_(self, type_: str) -> tuple[str, str]:
        """A condition's status and reason."""
        condition = self.condition(type_)
        return condition["status"], condition["reason"]

    def phase(self, iteration: int, phase: str) -> Json:
        entry = next(i for i in self.status["iterations"] if i["iteration"] == iteration)
        return next(p for p in entry["phases"] if p["phase"] == phase)

    def events(self) -> list[tuple[str, str]]:
        """Type and reason of all events, in their order."""
        found = [obj for (plural, _, _), obj in self.cluster.objects.items() if plural == "events"]
        return [(e["type"], e["reason"]) for e in found]

    def active_jobs(self) -> list[Json]:
        jobs = self.cluster.jobs()
        return [j for j in jobs if not (j.get("status") or {}).get("conditions") and j["metadata"].get("labels")]

    @property
    def job(self) -> Json:
        """The one active Job."""
        (job,) = self.active_jobs()
        return job

    @property
    def job_name(self) -> str:
        return str(self.job["metadata"]["name"])

    def complete(self, **said: Any) -> str:
        """Lets the active Job complete, each index saying that the phase is committed."""
        name, pods = self.job_name, self.job["spec"]["completions"]
        self.cluster.sleep(60)
        self.cluster.end_job(name, {i: (0, {"manifest": digest(name), **said}) for i in range(pods)})
        return name

    def end(self, *exits: int, said: Any = None, **how: Any) -> str:
        """Ends the active Job with an exit code for each index; see `FakeCluster.end_job`."""
        name = self.job_name
        self.cluster.end_job(name, {index: (code, said) for index, code in enumerate(exits)}, **how)
        return name

    def remove(self, name: str) -> None:
        self.cluster.remove(JOBS, NAMESPACE, name)

    def change(self, **spec: Any) -> None:
        self.cluster.change_spec(self.name, **spec)
