"""Conditions, reasons, images: what a person, kubectl wait and kstatus see."""

from __future__ import annotations

import pytest

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import Metric, SELMRunStatus
from selm_operator.kube import JOBS, RUNS, SERVICES, ApiError, Json, Resource
from selm_operator.ledger import next_position, open_position, with_phase
from selm_operator.queue import Again
from selm_runtime.contract import Phase
from support.fake_cluster import NAMESPACE, START
from support.operator_world import World
from support.run_builder import make_run

TYPES = ["Accepted", "Succeeded", "Suspended", "Reconciling", "Stalled"]
DIGEST = "sha256:" + "a" * 64


async def test_all_conditions_stand_from_the_first_look_with_the_generation_they_are_about() -> None:
    world = World(make_run())
    await world.settle()
    assert [c["type"] for c in world.status["conditions"]] == TYPES
    assert {c["observedGeneration"] for c in world.status["conditions"]} == {1}
    assert world.status["observedGeneration"] == 1


async def test_a_condition_keeps_its_time_until_its_state_changes() -> None:
    world = World(make_run())
    await world.settle()
    begun = world.condition("Succeeded")["lastTransitionTime"]
    await world.reach("Training")
    assert world.condition("Succeeded")["lastTransitionTime"] == begun
    await world.finish()
    assert world.condition("Succeeded")["lastTransitionTime"] > begun


async def test_a_change_of_the_spec_is_observed_without_disturbing_the_job() -> None:
    world = World(make_run())
    await world.reach("Generation")
    world.change(retry={"maxAttempts": 9})
    await world.settle()
    assert world.status["observedGeneration"] == 2
    assert world.job_name == "tiny-i1-gen-a1"


async def test_a_look_at_an_unchanged_run_writes_nothing() -> None:
    world = World(make_run())
    await world.reach("Generation")
    writes = len(world.cluster.log)
    for _ in range(5):
        await world.settle()
    assert len(world.cluster.log) == writes


REASONS = {
    "Preparation": ("Preparing", 0),
    "Generation": ("Generating", 1),
    "Scoring": ("Scoring", 1),
    "Training": ("Training", 1),
    "Evaluation": ("Evaluating", 1),
}


@pytest.mark.parametrize("phase", REASONS)
async def test_the_reason_names_the_phase_at_work(phase: str) -> None:
    reason, iteration = REASONS[phase]
    world = World(make_run())
    await world.reach(phase, iteration)
    assert world.is_("Reconciling") == ("True", reason)
    assert world.condition("Succeeded")["message"] == f"{phase} of iteration {iteration} is at work"


def unschedulable() -> Json:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no GPU"}
    return {"phase": "Pending", "conditions": [condition]}


def waits_with(reason: str, message: str = "") -> Json:
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": "phase", "state": {"waiting": {"reason": reason, "message": message}}}],
    }


PENDING = {
    "no node fits": (unschedulable(), "is unschedulable: 0/3 nodes: no GPU"),
    "the image cannot be pulled": (waits_with("ImagePullBackOff", "no such tag"), "ImagePullBackOff: no such tag"),
    "a Secret is missing": (
        waits_with("CreateContainerConfigError", 'secret "s3" not found'),
        'waits with CreateContainerConfigError: secret "s3" not found',
    ),
}


@pytest.mark.parametrize(("status", "words"), PENDING.values(), ids=PENDING.keys())
async def test_why_a_pod_is_pending_is_told_and_only_after_a_moment(status: Json, words: str) -> None:
    world = World(make_run())
    job = await world.reach("Generation")
    world.cluster.put_pod(world.cluster.job(job["metadata"]["name"]), 0, status)
    await world.after(10)
    assert world.is_("Reconciling") == ("True", "Generating")
    await world.after(10)
    assert world.is_("Reconciling") == ("True", "Pending")
    assert words in world.condition("Succeeded")["message"]
    world.cluster.job(job["metadata"]["name"])["status"] = {"ready": 1, "active": 1}
    await world.settle()
    assert world.is_("Reconciling") == ("True", "Generating")


async def test_pods_that_are_not_made_are_told_too_and_a_long_wait_is_announced_once() -> None:
    world = World(make_run().with_shards(2))
    await world.reach("Generation")
    await world.after(20)
    assert "2 of 2 pods of Job tiny-i1-gen-a1 are not made" in world.condition("Reconciling")["message"]
    for _ in range(3):
        await world.after(1800)
    assert world.is_("Reconciling") == ("True", "PendingTooLong")
    assert world.events().count(("Warning", "PendingTooLong")) == 1


async def test_the_image_is_recorded_and_pinned_by_the_first_pod_for_all_phases() -> None:
    world = World(make_run())
    await world.settle()
    assert world.status["images"] == [{"phase": "Preparation", "image": "runtime:1"}]
    world.complete()
    pod = next(obj for (plural, _, _), obj in world.cluster.objects.items() if plural == "pods")
    pod["status"]["containerStatuses"][0]["imageID"] = f"docker.io/library/runtime@{DIGEST}"
    await world.settle()
    pinned = f"runtime:1@{DIGEST}"
    assert world.job["spec"]["template"]["spec"]["containers"][0]["image"] == pinned
    assert {i["image"] for i in world.status["images"]} == {pinned}


async def test_another_image_in_the_spec_is_used_from_the_next_attempt_on() -> None:
    world = World(make_run().with_spec(image="selm:1"))
    name = (await world.reach("Generation"))["metadata"]["name"]
    world.change(suspend=True)
    await world.settle()
    world.remove(name)
    await world.settle()
    world.change(suspend=False, image="selm:2")
    await world.settle()
    assert world.job["spec"]["template"]["spec"]["containers"][0]["image"] == "selm:2"
    assert {"phase": "Generation", "image": "selm:2"} in world.status["images"]


async def test_a_job_of_another_owner_under_the_next_name_is_waited_for() -> None:
    world = World(make_run())
    await world.reach("Generation")
    metadata = {
        "name": "tiny-i1-score-a1",
        "ownerReferences": [{"kind": "SELMRun", "name": "tiny", "uid": "an-older-run", "controller": True}],
    }
    world.cluster.store(JOBS, NAMESPACE, {"metadata": metadata, "spec": {}})
    world.complete()
    look = await world.settle()
    assert look.seconds == 5  # type: ignore[union-attr]
    assert world.is_("Reconciling") == ("True", "WaitingForOldJob")
    assert "belongs to SELMRun tiny (an-older-run)" in world.condition("Reconciling")["message"]
    assert "attempt" not in world.current
    world.remove("tiny-i1-score-a1")
    await world.settle()
    assert world.job_name == "tiny-i1-score-a1"


async def test_the_service_is_made_once_and_never_taken_from_another_owner() -> None:
    world = World(make_run())
    foreign = {"metadata": {"name": "tiny-train"}, "spec": {"selector": {"app": "web"}}}
    world.cluster.store(SERVICES, NAMESPACE, foreign)
    await world.reach("Scoring")
    world.complete()
    await world.settle()
    assert world.is_("Reconciling") == ("True", "WaitingForOldService")
    assert world.cluster.objects[("services", NAMESPACE, "tiny-train")]["spec"] == foreign["spec"]
    world.cluster.remove(SERVICES, NAMESPACE, "tiny-train")
    await world.settle()
    assert world.job_name == "tiny-i1-train-a1"
    world.end(1)
    await world.settle()
    await world.after(10)
    assert [entry for entry in world.cluster.log if entry[1] == "services"] == [("apply", "services", "tiny-train")]


async def test_a_stray_job_of_an_earlier_phase_is_deleted_and_its_successor_goes_on() -> None:
    world = World(make_run())
    old = await world.reach("Generation")
    await world.reach("Scoring")
    world.remove(old["metadata"]["name"])
    late = {key: old[key] for key in ("spec",)} | {"metadata": dict(old["metadata"])}
    late["metadata"].pop("uid")
    world.cluster.store(JOBS, NAMESPACE, late)
    await world.settle()
    assert "deletionTimestamp" in world.cluster.job(old["metadata"]["name"])["metadata"]
    assert "deletionTimestamp" not in world.cluster.job("tiny-i1-score-a1")["metadata"]
    assert world.events().count(("Warning", "StrayJobDeleted")) == 1
    world.remove(old["metadata"]["name"])
    await world.settle()
    assert world.is_("Reconciling") == ("True", "Scoring")


async def test_a_quota_that_refuses_the_job_is_told_and_tried_again() -> None:
    world = World(make_run())
    await world.reach("Generation")
    world.complete()
    full = True

    def quota(when: str, verb: str, resource: Resource, name: str) -> None:
        if full and (verb, resource) == ("create", JOBS):
            raise ApiError(403, "Forbidden", 'jobs.batch "tiny-i1-score-a1" is forbidden: exceeded quota: gpus')

    world.cluster.fault = quota
    look = await world.settle()
    assert look == Again(30.0)
    assert world.is_("Stalled") == ("True", "JobRefused")
    assert world.is_("Succeeded") == ("Unknown", "JobRefused")
    assert "exceeded quota: gpus" in world.condition("Succeeded")["message"]
    for _ in range(3):
        await world.after(30)
    assert world.events().count(("Warning", "JobRefused")) == 1
    full = False
    await world.after(30)
    assert world.job_name == "tiny-i1-score-a1"
    assert world.is_("Stalled")[0] == "False"


async def test_a_leader_that_woke_late_loses_its_status_write_and_looks_again() -> None:
    world = World(make_run())
    await world.reach("Generation")
    world.complete()

    def another_writes_first(when: str, verb: str, resource: Resource, name: str) -> None:
        if (when, verb, resource) == ("before", "replace", RUNS):
            world.cluster.fault = lambda *_: None
            world.change(retry={"maxAttempts": 7})

    world.cluster.fault = another_writes_first
    assert await world.reconciler((NAMESPACE, "tiny")) == Again(0.0)
    assert world.phase(1, "Generation")["state"] == "Running"
    await world.settle()
    assert world.phase(1, "Generation")["state"] == "Succeeded"
    assert world.events().count(("Normal", "PhaseSucceeded")) == 3


def test_a_status_of_50_iterations_fits() -> None:
    """With 16 metrics an evaluation, as many digits as are kept, and room for the managed fields."""
    spec = SELMRunSpec.model_validate(make_run().with_iterations(50).obj()["spec"])
    status = SELMRunStatus()
    metrics = tuple(Metric(name=f"metric-number-{n:02d}", value=0.123457 + n) for n in range(16))
    while (position := next_position(status, spec)) is not None:
        status = open_position(status, spec, position)
        status = with_phase(
            status,
            position,
            state="Succeeded",
            attempts=3,
            start_time=START,
            completion_time=START,
            manifest_digest=DIGEST,
            metrics=metrics if position[1] is Phase.EVALUATION else metrics[:4],
            gpu_seconds=123456.789,
        )
    assert len(status.model_dump_json(by_alias=True, exclude_none=True)) < 120 * 1024


async def test_of_a_long_run_only_the_jobs_near_by_are_listed() -> None:
    world = World(make_run().with_iterations(4))
    await world.reach("Scoring", 4)
    asked: list[str] = []
    listing = world.cluster.list

    async def listed(resource: Resource, namespace: str | None, *, labels: str = "") -> Json:
        found = await listing(resource, namespace, labels=labels)
        asked.extend(job["metadata"]["name"] for job in found["items"] if resource == JOBS)
        return found

    world.cluster.list = listed  # type: ignore[method-assign]
    await world.settle()
    assert {name.split("-")[1] for name in asked} == {"i3", "i4"}
