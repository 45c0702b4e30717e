"""Conditions, reasons, images: what a person, kubectl wait and kstatus see."""

from __future__ import annotations

import pytest

from selm_operator.kube import JOBS, SERVICES, Json
from support.fake_cluster import NAMESPACE
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
    assert "2 pods of Job tiny-i1-gen-a1 are not made yet" in world.condition("Reconciling")["message"]
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
