"""The three effects, against an API server that refuses in every way at every call."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.decision import Action, ApplyService, CreateJob, DeleteJob
from selm_operator.execute import EffectRefused, Executor, JobNameTaken, NotLeading
from selm_operator.kube import JOBS, ApiError, Json, Resource
from support.fake_cluster import NAMESPACE, FakeCluster
from support.operator_world import World
from support.run_builder import make_run


def job(name: str = "a-i1-gen-a1", owner: str = "run-uid") -> Json:
    reference = {"kind": "SELMRun", "name": "a", "uid": owner, "controller": True}
    return {"metadata": {"name": name, "labels": {}, "ownerReferences": [reference]}, "spec": {"parallelism": 1}}


async def execute(cluster: FakeCluster, *actions: Action) -> None:
    await Executor(cluster).execute(NAMESPACE, actions)


async def test_a_job_that_exists_of_the_same_owner_is_ours_whatever_its_template_says() -> None:
    cluster = FakeCluster()
    older = job()
    older["spec"] = {"parallelism": 7}
    cluster.store(JOBS, NAMESPACE, older)
    await execute(cluster, CreateJob(job()))
    assert cluster.job("a-i1-gen-a1")["spec"] == {"parallelism": 7}


async def test_a_job_that_exists_of_another_owner_is_in_the_way() -> None:
    cluster = FakeCluster()
    cluster.store(JOBS, NAMESPACE, job(owner="another"))
    with pytest.raises(JobNameTaken):
        await execute(cluster, CreateJob(job()))


async def test_a_job_that_exists_and_is_being_deleted_is_in_the_way() -> None:
    cluster = FakeCluster()
    stored = cluster.store(JOBS, NAMESPACE, job())
    stored["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(JobNameTaken):
        await execute(cluster, CreateJob(job()))


async def test_a_deletion_is_in_the_foreground_and_of_this_job_alone() -> None:
    cluster = FakeCluster()
    stored = cluster.store(JOBS, NAMESPACE, job())
    await execute(cluster, DeleteJob("a-i1-gen-a1", "the uid of its predecessor"))
    assert "deletionTimestamp" not in cluster.job("a-i1-gen-a1")["metadata"]
    await execute(cluster, DeleteJob("a-i1-gen-a1", stored["metadata"]["uid"]))
    assert "deletionTimestamp" in cluster.job("a-i1-gen-a1")["metadata"]


async def test_deleting_what_is_gone_is_done() -> None:
    await execute(FakeCluster(), DeleteJob("gone", "uid"))


@pytest.mark.parametrize("code", [400, 403, 422])
async def test_a_refused_job_is_told_apart_from_a_server_that_is_unwell(code: int) -> None:
    cluster = FakeCluster()

    def refuse(when: str, verb: str, resource: Resource, name: str) -> None:
        raise ApiError(code, "Refused", "exceeded quota: gpus")

    cluster.fault = refuse
    with pytest.raises(EffectRefused, match="exceeded quota"):
        await execute(cluster, CreateJob(job()))
    with pytest.raises(EffectRefused):
        await execute(cluster, ApplyService({"metadata": {"name": "a-train"}, "spec": {}}))


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_the_first_effect_that_fails_ends_the_pass(failing: int) -> None:
    cluster = FakeCluster()
    calls: list[str] = []

    def fail(when: str, verb: str, resource: Resource, name: str) -> None:
        if when == "before":
            calls.append(verb)
            if len(calls) == failing + 1:
                raise ApiError(500, "InternalError", "no")

    cluster.fault = fail
    actions = (ApplyService({"metadata": {"name": "s"}, "spec": {}}), CreateJob(job()), DeleteJob("x", "y"))
    with pytest.raises(ApiError):
        await execute(cluster, *actions)
    assert calls == ["apply", "create", "delete"][: failing + 1]


async def test_nothing_is_begun_without_the_lease() -> None:
    cluster = FakeCluster()
    answers = iter([True, False])
    executor = Executor(cluster, leading=lambda: next(answers))
    with pytest.raises(NotLeading):
        await executor.execute(NAMESPACE, (CreateJob(job("one")), CreateJob(job("two"))))
    assert [j["metadata"]["name"] for j in cluster.jobs()] == ["one"]


FAULTS: dict[str, Any] = {
    "500": ApiError(500, "InternalError", "no"),
    "429": ApiError(429, "TooManyRequests", "later"),
    "a time-out": TimeoutError(),
    "409 on the status": ApiError(409, "Conflict", "modified"),
}


@pytest.mark.parametrize("error", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_fault_at_any_single_request_changes_nothing_in_the_end(error: Exception, moment: str) -> None:
    """One fault at the n-th request of a whole run, for many n: the same Jobs in the same order, each made once."""
    quiet = World(make_run())
    expected = await quiet.finish()
    for n in range(1, 140, 19):
        world = World(make_run())
        calls = 0

        def fault(when: str, verb: str, resource: Resource, name: str, n: int = n) -> None:
            nonlocal calls
            of_status = (verb, resource.plural) == ("replace", "selmruns")
            if (
                when != moment
                or resource.plural == "events"
                or (isinstance(error, ApiError) and error.code == 409 and not of_status)
            ):
                return
            calls += 1
            if calls == n + 1:
                raise error

        world.cluster.fault = fault
        made: list[str] = []
        for _ in range(60):
            try:
                await world.settle()
            except (ApiError, TimeoutError):
                continue
            if not world.active_jobs():
                break
            made.append(world.complete())
        assert made == expected, n
        assert world.is_("Succeeded")[0] == "True"
