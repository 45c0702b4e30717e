"""How attempts end, and what follows: one table of ends, then the stories of retries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from selm_operator.kube import JOBS
from selm_operator.queue import Again
from support.fake_cluster import NAMESPACE, digest, stamp
from support.operator_world import World
from support.run_builder import make_run

STORE_AWAY = {"error": {"reason": "StoreAway", "message": "s3.example.org does not answer"}}
BAD_ROW = {"error": {"reason": "BadRow", "message": "spec.data: row 7 has no prompt"}}


@dataclass(frozen=True)
class End:
    """Exit codes by index in a phase, and what must be in the book afterwards."""

    phase: str
    exits: tuple[int, ...]
    counted: bool
    exit_code: int | None
    said: Any = None
    how: dict[str, Any] = field(default_factory=dict)
    wait: float = 10.0


ENDS = {
    "a crash counts": End("Generation", (1, 0), True, 1),
    "an OOM counts": End("Training", (137, 143), True, 137),
    "a store that is away does not count": End("Scoring", (75,), False, 75, STORE_AWAY),
    "a lost peer by itself does not count": End("Training", (76, 76), False, 76),
    "a rank that crashed counts, though the other one says that its peer was lost": End("Training", (76, 1), True, 1),
    "a crash counts, though another shard says that the store is away": End("Generation", (75, 1), True, 1),
    "a disrupted rank costs nothing, though its peer broke": End(
        "Training", (143, 1), False, None, how={"disrupted": 0}
    ),
    "a shard that crashed counts, though another was disrupted": End(
        "Generation", (1, 143), True, 1, how={"disrupted": 1}
    ),
    "an OOM after a committed chunk does not count": End(
        "Generation", (137, 137), False, 137, {"chunks": {"done": 2, "total": 9}}
    ),
    "a crash after a committed checkpoint does not count": End("Training", (1, 76), False, 1, {"checkpointStep": 40}),
    "a completion that says nothing costs one attempt, at once": End("Evaluation", (0,), False, None, wait=0.0),
    "a completion whose message is cut costs one attempt, at once": End(
        "Evaluation", (0,), False, None, '{"manifest": "sha256:12', wait=0.0
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_an_attempt_ends(end: End) -> None:
    world = World(make_run().with_shards(2).with_nodes(2))
    name = (await world.reach(end.phase))["metadata"]["name"]
    how = dict(end.how)
    if end.phase == "Generation":
        how.pop("disrupted", None)  # Ignore: the Job fails of the other index
    world.cluster.end_job(name, {i: (code, end.said) for i, code in enumerate(end.exits)}, **how)
    if "disrupted" in end.how and end.phase == "Generation":
        pod = next(o for (plural, _, n), o in world.cluster.objects.items() if plural == "pods" and f"{name}-1-" in n)
        pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    await world.reconciler(("default", "tiny"))
    failure = world.current["failure"]
    assert (failure["attempt"], failure["counted"], failure.get("exitCode")) == (1, end.counted, end.exit_code)
    assert world.current.get("countedFailures", 0) == int(end.counted)
    if end.wait:
        await world.after(end.wait - 1)
        assert not world.active_jobs()
    await world.after(1)
    assert world.job_name == name.replace("-a1", "-a2")


@pytest.mark.parametrize(("phase", "left"), [("Training", ()), ("Training", (1,)), ("Generation", (1,))])
async def test_failed_pods_that_somebody_deleted_count_nothing(phase: str, left: tuple[int, ...]) -> None:
    """The Job tells that a pod failed, and none is there to say why: who deletes a running pod leaves just that."""
    world = World(make_run().with_shards(2).with_nodes(2))
    name = (await world.reach(phase))["metadata"]["name"]
    world.cluster.end_job(name, {0: (143, None), 1: (0, None)})
    for key in [key for key in world.cluster.objects if key[0] == "pods" and name in key[2]]:
        if not any(f"{name}-{index}-" in key[2] for index in left):
            del world.cluster.objects[key]
    await world.reconciler(("default", "tiny"))
    failure = world.current["failure"]
    assert (failure["attempt"], failure["counted"]) == (1, False)
    assert "deleted before they could say why" in failure["message"]
    assert "countedFailures" not in world.current
    await world.after(1)
    assert world.job_name == name.replace("-a1", "-a2")


async def test_a_job_past_its_deadline_counts_whatever_its_pods_say() -> None:
    world = World(make_run())
    name = (await world.reach("Evaluation"))["metadata"]["name"]
    world.cluster.end_job(name, {0: (143, None)})
    key = next(key for key in world.cluster.objects if key[0] == "jobs" and key[2] == name)
    for condition in world.cluster.objects[key]["status"]["conditions"]:
        condition |= {"reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline"}
    for pod in [key for key in world.cluster.objects if key[0] == "pods" and name in key[2]]:
        del world.cluster.objects[pod]
    await world.reconciler(("default", "tiny"))
    assert world.current["failure"]["counted"] is True


async def test_input_that_a_phase_refuses_is_never_tried_again() -> None:
    world = World(make_run())
    await world.settle()
    world.end(64, said=BAD_ROW)
    await world.after(0)
    assert world.is_("Succeeded") == ("False", "InvalidInput")
    assert world.is_("Stalled") == ("True", "InvalidInput")
    assert world.is_("Reconciling")[0] == "False"
    assert world.is_("Accepted") == ("True", "Accepted")
    assert "spec.data: row 7 has no prompt" in world.condition("Succeeded")["message"]
    assert world.phase(0, "Preparation")["state"] == "Failed"
    await world.after(100_000)
    assert not world.active_jobs()


async def test_input_refused_is_known_from_the_job_when_its_pods_are_gone() -> None:
    world = World(make_run())
    await world.settle()
    name = world.end(64, said=BAD_ROW)
    for key in [k for k in world.cluster.objects if k[0] == "pods"]:
        del world.cluster.objects[key]
    await world.after(0)
    assert world.is_("Succeeded") == ("False", "InvalidInput")
    assert world.current["jobName"] == name


async def test_the_wait_doubles_from_ten_seconds_to_ten_minutes() -> None:
    world = World(make_run())
    await world.reach("Generation")
    waits = []
    for _ in range(9):
        world.end(75, said=STORE_AWAY)
        look = await world.settle()
        assert isinstance(look, Again)
        assert look.seconds is not None
        waits.append(look.seconds)
        await world.after(look.seconds)
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert world.current["attempt"] == 10
    assert "countedFailures" not in world.current


async def test_a_store_that_stays_away_stalls_the_run_and_loses_nothing() -> None:
    world = World(make_run().with_retry(temporaryDeadlineSeconds=25))
    await world.reach("Scoring")
    world.end(75, said=STORE_AWAY)
    await world.settle()
    await world.after(10)
    world.end(75, said=STORE_AWAY)
    await world.settle()
    await world.after(20)
    assert world.is_("Stalled") == ("True", "TemporaryDeadlineExceeded")
    assert world.is_("Succeeded") == ("Unknown", "TemporaryDeadlineExceeded")
    assert not world.active_jobs()
    world.change(retry={"temporaryDeadlineSeconds": 100})
    await world.settle()
    assert world.job_name == "tiny-i1-score-a3"
    assert world.is_("Stalled")[0] == "False"


async def test_attempts_that_count_end_the_run_and_raising_the_limit_takes_it_up_again() -> None:
    world = World(make_run().with_retry(maxAttempts=2))
    await world.reach("Training")
    for _ in range(2):
        world.end(1, said="Traceback: CUDA error")
        await world.after(0)
        await world.after(600)
    assert world.is_("Succeeded") == ("False", "AttemptsExhausted")
    assert world.is_("Stalled") == ("True", "AttemptsExhausted")
    message = world.condition("Succeeded")["message"]
    assert message.startswith("Training of iteration 1 failed 2 times (spec.retry.maxAttempts is 2)")
    assert "Traceback: CUDA error" in message
    assert not world.active_jobs()
    world.change(retry={"maxAttempts": 3})
    await world.settle()
    assert world.job_name == "tiny-i1-train-a3"
    assert world.is_("Succeeded")[0] == "Unknown"


async def test_progress_takes_the_count_back() -> None:
    world = World(make_run().with_retry(maxAttempts=2))
    await world.reach("Training")
    for step, counted in ((None, 1), (5, 0), (5, 1), (9, 0), (9, 1)):
        world.end(1, said={} if step is None else {"checkpointStep": step})
        await world.settle()
        assert world.current.get("countedFailures", 0) == counted, step
        await world.after(600)
    assert world.is_("Succeeded")[0] == "Unknown"


async def test_a_job_that_vanishes_costs_one_uncounted_attempt() -> None:
    world = World(make_run())
    name = (await world.reach("Generation"))["metadata"]["name"]
    world.remove(name)
    await world.settle()
    assert world.job_name == "tiny-i1-gen-a2"
    assert world.current["failure"] == {
        "attempt": 1,
        "counted": False,
        "time": world.current["failure"]["time"],
        "message": "its Job is gone",
    }


async def test_pods_that_outlive_their_job_are_waited_for_until_a_lost_node_holds_them() -> None:
    world = World(make_run())
    job = await world.reach("Training")
    name, leaving = job["metadata"]["name"], stamp(world.cluster.now + timedelta(seconds=600))
    world.cluster.put_pod(job, 0, {"phase": "Running"})
    world.cluster.orphan(JOBS, NAMESPACE, name)
    await world.settle()
    assert world.is_("Succeeded") == ("Unknown", "WaitingForOldJob")
    assert f"Job {name} is gone, pods of it still run: {name}-0" in world.condition("Succeeded")["message"]
    (pod,) = [obj for (plural, _, _), obj in world.cluster.objects.items() if plural == "pods" and name in str(obj)]
    pod["metadata"]["deletionTimestamp"] = leaving
    await world.after(659)
    assert not world.active_jobs(), "a second trainer beside the first"
    await world.after(2)
    assert world.job_name == "tiny-i1-train-a2"


async def test_a_suspended_run_is_not_at_rest_while_pods_outlive_their_job() -> None:
    world = World(make_run())
    job = await world.reach("Training")
    world.cluster.put_pod(job, 0, {"phase": "Running"})
    world.cluster.orphan(JOBS, NAMESPACE, job["metadata"]["name"])
    world.change(suspend=True)
    await world.settle()
    assert world.is_("Suspended") == ("False", "Suspending")
    (pod,) = [obj for (plural, _, _), obj in world.cluster.objects.items() if plural == "pods" and "train" in str(obj)]
    pod["status"]["phase"] = "Failed"
    await world.after(5)
    assert world.is_("Suspended")[0] == "True"


async def test_a_finished_job_that_vanished_with_its_manifest_read_is_not_missed() -> None:
    world = World(make_run())
    name = (await world.reach("Generation"))["metadata"]["name"]
    world.complete()
    await world.settle()
    world.remove(name)
    await world.settle()
    assert world.job_name == "tiny-i1-score-a1"


async def test_a_sealed_failure_counts_once_a_lost_node_holds_it_back_for_longer_than_the_grace() -> None:
    world = World(make_run().with_nodes(2).with_spec(training={"terminationGracePeriodSeconds": 100}))
    await world.reach("Training")
    world.end(1, 0, target=True)
    await world.after(159)
    assert world.current.get("failure") is None
    await world.after(2)
    assert world.current["failure"]["exitCode"] == 1


async def test_a_failed_job_whose_phase_is_committed_is_committed() -> None:
    world = World(make_run().with_nodes(2))
    name = (await world.reach("Training"))["metadata"]["name"]
    world.cluster.end_job(name, {0: (0, {"manifest": digest("weights")}), 1: (1, "died at the exit")})
    await world.settle()
    assert world.phase(1, "Training")["manifestDigest"] == digest("weights")
    assert world.job_name == "tiny-i1-eval-a1"


async def test_every_failed_attempt_is_announced_once() -> None:
    world = World(make_run().with_retry(maxAttempts=2))
    await world.reach("Generation")
    for _ in range(2):
        world.end(1)
        for _ in range(3):
            await world.settle()
        await world.after(600)
    reasons = [reason for _, reason in world.events()]
    assert reasons.count("AttemptFailed") == 2
    assert reasons.count("AttemptsExhausted") == 1
