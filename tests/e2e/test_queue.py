"""A queue above the run: Kueue's suspensions, imitated from outside (see support/e2e_queue.py)."""

from __future__ import annotations

import pytest

from support.e2e_queue import imitated_queue
from support.e2e_runs import long_training
from support.e2e_watch import assert_one_at_a_time, exit_codes, name_of, watching
from support.lab import Json, Lab, phase_status, trained

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME, QUEUE = "queued", "team-a"
SHORT = [(0, "Preparation", "prep"), (0, "Evaluation", "eval")]


def test_a_queued_run_waits_is_admitted_in_part_and_survives_preemption(
    lab: Lab, inputs: dict[str, str], base: Json
) -> None:
    with (
        imitated_queue(lab, QUEUE) as queue,
        watching(lab, "jobs", f"selm.dev/run={NAME}") as jobs,
        watching(lab, "pods", f"selm.dev/run={NAME}") as pods,
    ):

        def is_queued(job: str) -> None:
            lab.until(f"{job} is held by the queue", lambda: queue.holds(job))
            said = lab.in_condition(NAME, "Succeeded", "Unknown", "Queued")
            assert job in said["message"]
            lab.until(f"{job} has no pods", lambda: not active_pods(lab, job))

        lab.apply(long_training(NAME, inputs, variant=2, scheduling={"queueName": QUEUE}))
        for iteration, _, short in SHORT:
            is_queued(f"{NAME}-i{iteration}-{short}-a1")
            queue.admit(f"{NAME}-i{iteration}-{short}-a1")

        shards = f"{NAME}-i1-gen-a1"
        is_queued(shards)
        queue.admit(shards, parallelism=1)
        is_queued(f"{NAME}-i1-score-a1")
        queue.admit(f"{NAME}-i1-score-a1")

        training = f"{NAME}-i1-train-a1"
        is_queued(training)
        queue.admit(training)
        assert lab.in_steps(NAME) == training
        uid = lab.jobs(lab.run(NAME))[training]
        at_work = {name_of(pod) for pod in active_pods(lab, training)}
        queue.preempt(training)
        is_queued(training)
        codes = exit_codes(pods.events, lambda pod: name_of(pod) in at_work)
        queue.admit(training)
        is_queued(f"{NAME}-i1-eval-a1")
        queue.admit(f"{NAME}-i1-eval-a1")
        run = lab.succeeded(NAME)
        assert_one_at_a_time(jobs, pods)

    assert codes == {75}, "pods that a queue asks to go end with 75"
    assert lab.jobs(run)[training] == uid
    for iteration, phase in [(t, p) for t, p, _ in SHORT] + [(1, "Generation"), (1, "Scoring"), (1, "Training")]:
        assert phase_status(run, iteration, phase)["attempts"] == 1, phase
    assert "failure" not in run["status"]["current"]
    assert trained(lab.logs(training))[0] > run["spec"]["training"]["batchSize"], "Training began anew"
    assert lab.manifest(run, 1, "Training")["contentDigest"] == lab.manifest(base, 1, "Training")["contentDigest"]


def active_pods(lab: Lab, job: str) -> list[Json]:
    return [pod for pod in lab.pods(job) if pod["status"].get("phase") in ("Pending", "Running")]
