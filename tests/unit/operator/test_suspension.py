"""Suspend and resume, in every phase and at every moment."""

from __future__ import annotations

import pytest

from selm_operator.kube import Json
from support.operator_world import World
from support.run_builder import make_run

PHASES = {
    "Preparation": 0,
    "Generation": 1,
    "Scoring": 1,
    "Training": 1,
    "Evaluation": 1,
}


async def suspended_in(phase: str, iteration: int = 1) -> tuple[World, Json]:
    """A run whose phase's Job is being deleted because of the suspension."""
    world = World(make_run().with_iterations(2))
    job = await world.reach(phase, iteration)
    world.change(suspend=True)
    await world.settle()
    return world, job


@pytest.mark.parametrize(("phase", "iteration"), PHASES.items(), ids=PHASES.keys())
async def test_suspend_stops_the_job_and_resume_makes_the_next_attempt(phase: str, iteration: int) -> None:
    world, job = await suspended_in(phase, iteration)
    name = job["metadata"]["name"]
    assert "deletionTimestamp" in world.cluster.job(name)["metadata"]
    assert world.is_("Suspended") == ("False", "Suspending")
    world.remove(name)
    await world.settle()
    assert world.is_("Suspended") == ("True", "Suspended")
    assert world.is_("Reconciling")[0] == "False"
    assert world.is_("Succeeded") == ("Unknown", "Suspended")
    await world.after(100_000)
    assert not world.active_jobs()
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == name.replace("-a1", "-a2")
    assert world.is_("Suspended") == ("False", "NotSuspended")
    assert "countedFailures" not in world.current


async def test_resume_at_once_waits_until_the_old_job_is_gone() -> None:
    world, job = await suspended_in("Training")
    world.change(suspend=False)
    await world.settle()
    assert world.is_("Reconciling") == ("True", "WaitingForOldJob")
    assert [j["metadata"]["name"] for j in world.active_jobs()] == [job["metadata"]["name"]]
    await world.after(300)
    assert world.is_("Reconciling") == ("True", "WaitingForOldJob")
    world.remove(job["metadata"]["name"])
    await world.settle()
    assert world.job_name == "tiny-i1-train-a2"


async def test_a_job_whose_deletion_hangs_is_abandoned_after_its_grace_and_a_minute() -> None:
    world, _ = await suspended_in("Training")
    await world.after(600 + 59)
    assert world.is_("Suspended") == ("False", "Suspending")
    await world.after(2)
    assert world.is_("Suspended") == ("True", "Suspended")
    world.change(suspend=False)
    await world.settle()
    assert {j["metadata"]["name"] for j in world.active_jobs()} == {"tiny-i1-train-a1", "tiny-i1-train-a2"}


async def test_a_phase_that_commits_while_it_is_stopped_is_committed() -> None:
    world, _ = await suspended_in("Generation")
    world.complete()
    await world.settle()
    assert world.phase(1, "Generation")["state"] == "Succeeded"
    assert world.is_("Suspended") == ("True", "Suspended")
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i1-score-a1"


async def test_a_suspended_run_opens_no_iteration() -> None:
    world, _ = await suspended_in("Evaluation")
    world.complete()
    await world.settle()
    assert world.current["iteration"] == 1
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i2-gen-a1"


async def test_a_run_that_is_created_suspended_waits_for_its_resume() -> None:
    world = World(make_run().suspended())
    await world.settle()
    assert world.is_("Suspended") == ("True", "Suspended")
    assert "current" not in world.status
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i0-prep-a1"


async def test_a_run_that_failed_is_repaired_by_suspend_and_resume_and_its_counts_restart() -> None:
    world = World(make_run().with_retry(maxAttempts=1))
    await world.reach("Training")
    world.end(137)
    await world.settle()
    assert world.is_("Succeeded") == ("False", "AttemptsExhausted")
    world.change(suspend=True, training={"resources": {"limits": {"memory": "64Gi"}}})
    await world.settle()
    assert world.is_("Succeeded") == ("Unknown", "Suspended")
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i1-train-a2"
    container = world.job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {"limits": {"memory": "64Gi"}}
    assert world.phase(1, "Generation")["state"] == "Succeeded"


async def test_input_refused_is_repaired_the_same_way() -> None:
    world = World(make_run())
    await world.settle()
    world.end(64)
    await world.settle()
    world.change(suspend=True)
    await world.settle()
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i0-prep-a2"


async def test_suspension_ends_a_back_off_and_a_stall() -> None:
    world = World(make_run().with_retry(temporaryDeadlineSeconds=5))
    await world.reach("Scoring")
    world.end(75)
    await world.settle()
    await world.after(10)
    assert world.is_("Stalled")[0] == "True"
    world.change(suspend=True)
    await world.settle()
    assert world.is_("Stalled")[0] == "False"
    world.change(suspend=False)
    await world.settle()
    assert world.job_name == "tiny-i1-score-a2"


async def test_suspending_a_finished_run_leaves_it_finished() -> None:
    world = World(make_run())
    await world.finish()
    world.change(suspend=True)
    await world.settle()
    assert world.is_("Succeeded") == ("True", "Succeeded")
    assert world.is_("Suspended")[0] == "True"


async def test_suspending_and_resuming_are_announced_once_each() -> None:
    world, job = await suspended_in("Generation")
    for _ in range(3):
        await world.settle()
    world.remove(job["metadata"]["name"])
    await world.settle()
    world.change(suspend=False)
    for _ in range(3):
        await world.settle()
    reasons = [reason for _, reason in world.events()]
    assert (reasons.count("Suspended"), reasons.count("Resumed")) == (1, 1)


async def test_a_job_that_the_queue_suspends_is_waited_for_and_not_touched() -> None:
    world = World(make_run().with_spec(scheduling={"queueName": "team-a"}))
    job = await world.reach("Generation")
    condition = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
    world.cluster.job(job["metadata"]["name"])["status"] = {"conditions": [condition]}
    await world.after(100_000)
    assert world.is_("Reconciling") == ("True", "Queued")
    assert len(world.cluster.jobs()) == 3
