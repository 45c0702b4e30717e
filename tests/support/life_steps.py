"""Steps of a run's life, for tables: `(reach("Training"), ends(75), look())`. Each is a function of a world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from selm_operator.decision import ApplyService, CreateJob, CreateRun, Decision, DeleteJob, DeleteService
from selm_operator.kube import EVENTS, JOBS, Json
from support.fake_cluster import NAMESPACE, digest, stamp
from support.operator_world import World

Step = Callable[[World], Awaitable[None]]


def reach(phase: str, iteration: int = 1) -> Step:
    """All phases before it are committed, and its first Job is at work."""

    async def step(world: World) -> None:
        await world.reach(phase, iteration)

    return step


def look() -> Step:
    """The operator looks until it wants no more."""

    async def step(world: World) -> None:
        await world.settle()

    return step


def finish() -> Step:
    async def step(world: World) -> None:
        await world.finish()

    return step


def _now(effect: Callable[[World], object]) -> Step:
    async def step(world: World) -> None:
        effect(world)

    return step


def wait(seconds: float) -> Step:
    """Time passes; nobody looks."""
    return _now(lambda world: world.cluster.sleep(seconds))


def change(**spec: Any) -> Step:
    """A user's edit."""
    return _now(lambda world: world.change(**spec))


def ends(*codes: int, said: Any = None, **how: Any) -> Step:
    """The active Job ends, an exit code for each index."""
    return _now(lambda world: world.end(*codes, said=said, **how))


def commits() -> Step:
    return _now(lambda world: world.complete())


def fails_and_waits(code: int, times: int = 1, said: Any = None) -> Step:
    """The active Job fails, the back-off passes, the next attempt is made; `times` times, the last without what follows."""

    async def step(world: World) -> None:
        for n in range(times):
            world.end(*([code] * world.job["spec"]["completions"]), said=said)
            await world.settle()
            if n < times - 1:
                await world.after(600)

    return step


def its_job_vanishes() -> Step:
    return _now(lambda world: world.remove(world.job_name))


def the_old_job_vanishes() -> Step:
    """The Job that is being deleted is gone."""

    def effect(world: World) -> None:
        for job in world.cluster.jobs():
            if "deletionTimestamp" in job["metadata"]:
                world.remove(job["metadata"]["name"])

    return _now(effect)


def its_pods_vanish() -> Step:
    def effect(world: World) -> None:
        for key in [k for k in world.cluster.objects if k[0] == "pods"]:
            del world.cluster.objects[key]

    return _now(effect)


def job_has(**status: Any) -> Step:
    """The active Job's status, as the Job controller or a queue writes it."""

    def effect(world: World) -> None:
        world.job.setdefault("status", {}).update(status)

    return _now(effect)


def the_queue_suspends_it(*codes: int) -> Step:
    """As Kueue does it: the Job is suspended, and the pods that ran end with what they end with."""

    def effect(world: World) -> None:
        job = world.job
        for index, code in enumerate(codes):
            world.cluster.end_pod(job, index, code, None)
        condition = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        job["spec"]["suspend"] = True
        job["status"] = {"conditions": [{**condition, "lastTransitionTime": stamp(world.cluster.now)}]}

    return _now(effect)


def the_queue_admits_it() -> Step:
    def effect(world: World) -> None:
        (job,) = [j for j in world.cluster.jobs() if (j["spec"] or {}).get("suspend")]
        job["spec"]["suspend"] = False
        job["status"] = {"startTime": stamp(world.cluster.now), "ready": job["spec"]["parallelism"]}

    return _now(effect)


def the_queue_admits_only(pods: int) -> Step:
    """Partial admission: fewer pods at a time, as many indexes."""
    return _now(lambda world: world.job["spec"].update(parallelism=pods))


def pod_is(index: int, status: Json) -> Step:
    return _now(lambda world: world.cluster.put_pod(world.job, index, status))


def pods_are_refused(note: str, at: int = 0) -> Step:
    """The Job controller could not make a pod, and says so in an event."""

    def effect(world: World) -> None:
        job = world.job["metadata"]
        name = f"{job['name']}.{at}"
        event: Json = {
            "metadata": {"name": name},
            "reason": "FailedCreate",
            "note": note,
            "regarding": {"kind": "Job", "name": job["name"], "uid": job["uid"]},
            "deprecatedLastTimestamp": f"2026-01-01T00:{at:02d}:00Z",
        }
        world.cluster.store(EVENTS, NAMESPACE, event)

    return _now(effect)


def a_job_of_another_owner(name: str, uid: str = "another", **labels: str) -> Step:
    """It holds the name; `labels` are on it as on ours."""

    def effect(world: World) -> None:
        owner = {"kind": "SELMRun", "name": "tiny", "uid": uid, "controller": True}
        metadata = {"name": name, "ownerReferences": [owner], "labels": labels}
        world.cluster.store(JOBS, NAMESPACE, {"metadata": metadata, "spec": {}})

    return _now(effect)


def the_job_was_made_by_an_older_operator() -> Step:
    """Another template, in flight."""

    def effect(world: World) -> None:
        template = world.job["spec"]["template"]["spec"]
        template["containers"][0] |= {"image": "runtime:0", "command": ["old"]}
        template["containers"][0].pop("securityContext")

    return _now(effect)


def actions_of(decision: Decision) -> tuple[str, ...]:
    """`create NAME`, `delete NAME`, `apply service NAME`, `delete service NAME`."""
    words = []
    for action in decision.actions:
        match action:
            case CreateJob():
                words.append(f"create {action.manifest['metadata']['name']}")
            case CreateRun():
                words.append(f"create run {action.manifest['metadata']['name']}")
            case DeleteJob():
                words.append(f"delete {action.name}")
            case ApplyService():
                words.append(f"apply service {action.manifest['metadata']['name']}")
            case DeleteService():
                words.append(f"delete service {action.name}")
    return tuple(words)


def committed(name: str) -> Json:
    """The termination message of a pod that committed its phase."""
    return {"manifest": digest(name)}
