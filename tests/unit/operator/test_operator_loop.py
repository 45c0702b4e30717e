"""The whole loop, with phases that do nothing: a run from its creation to its end against a cluster in memory."""

from __future__ import annotations

from selm_operator.events import EventRecorder
from selm_operator.kube import RUNS, Json
from selm_operator.queue import Again, Gone
from selm_operator.reconcile import Reconciler
from selm_operator.settings import Settings
from support.fake_cluster import NAMESPACE, FakeCluster, digest
from support.run_builder import RunBuilder, make_run

SETTINGS = Settings(runtime_image="runtime:1")


class World:
    """A cluster with one run and one operator."""

    def __init__(self, run: RunBuilder) -> None:
        self.cluster = FakeCluster()
        self.cluster.store(RUNS, NAMESPACE, run.obj())
        self.name = run.obj()["metadata"]["name"]
        recorder = EventRecorder(self.cluster, "test")
        self.reconciler = Reconciler(self.cluster, SETTINGS, recorder, clock=lambda: self.cluster.now)

    async def settle(self) -> None:
        """Looks until nothing wants another look at once."""
        for _ in range(20):
            look = await self.reconciler((NAMESPACE, self.name))
            if isinstance(look, Gone) or look != Again(0.0):
                return
        raise AssertionError("the operator does not come to rest")

    @property
    def status(self) -> Json:
        return self.cluster.run(self.name)["status"]

    def condition(self, type_: str) -> Json:
        return next(c for c in self.status["conditions"] if c["type"] == type_)

    def active_jobs(self) -> list[Json]:
        return [job for job in self.cluster.jobs() if not (job.get("status") or {}).get("conditions")]

    def complete(self, **said: object) -> str:
        """Lets the one active Job complete, each index saying that the phase is committed."""
        (job,) = self.active_jobs()
        name = job["metadata"]["name"]
        pods = job["spec"]["completions"]
        self.cluster.sleep(60)
        self.cluster.end_job(name, {i: (0, {"manifest": digest(name), **said}) for i in range(pods)})
        return name


async def run_to_the_end(world: World) -> list[str]:
    """Job names in the order in which they were made."""
    await world.settle()
    names = []
    while world.active_jobs():
        names.append(world.complete())
        await world.settle()
    return names


async def test_a_run_of_two_iterations_makes_its_jobs_in_order_and_succeeds() -> None:
    world = World(make_run().with_iterations(2))
    assert await run_to_the_end(world) == [
        "tiny-i0-prep-a1",
        "tiny-i0-eval-a1",
        "tiny-i1-gen-a1",
        "tiny-i1-score-a1",
        "tiny-i1-train-a1",
        "tiny-i1-eval-a1",
        "tiny-i2-gen-a1",
        "tiny-i2-score-a1",
        "tiny-i2-train-a1",
        "tiny-i2-eval-a1",
    ]
    assert world.condition("Succeeded")["status"] == "True"
    assert world.status["current"] == {
        "iteration": 2,
        "phase": "Evaluation",
        "attempt": 1,
        "jobName": "tiny-i2-eval-a1",
    }


async def test_offline_pairs_skip_generation_and_scoring() -> None:
    world = World(make_run().with_iterations(2).offline(1))
    names = await run_to_the_end(world)
    assert names[2:5] == ["tiny-i1-train-a1", "tiny-i1-eval-a1", "tiny-i2-gen-a1"]
    states = {p["phase"]: p["state"] for p in world.status["iterations"][1]["phases"]}
    assert states == {"Generation": "Skipped", "Scoring": "Skipped", "Training": "Succeeded", "Evaluation": "Succeeded"}


async def test_three_iterations_cost_at_most_48_writes() -> None:
    world = World(make_run().with_iterations(3))
    await run_to_the_end(world)
    writes = [entry for entry in world.cluster.log if entry[1] != "events"]
    assert len(writes) <= 48, len(writes)
