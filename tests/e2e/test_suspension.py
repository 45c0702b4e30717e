"""Suspend and resume: in each phase, at once; nothing runs beside another, and nothing committed is lost."""

from __future__ import annotations

import pytest

from support.e2e_runs import long_training
from support.e2e_watch import assert_one_at_a_time, watching
from support.lab import Json, Lab, phase_status, trained

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

PHASES = [
    (0, "Preparation"),
    (0, "Evaluation"),
    (1, "Generation"),
    (1, "Scoring"),
    (1, "Training"),
    (1, "Evaluation"),
]


def test_a_run_that_is_suspended_in_each_phase_ends_as_if_it_was_not(
    lab: Lab, inputs: dict[str, str], base: Json
) -> None:
    name = "suspended"
    lab.apply(long_training(name, inputs, artifacts={"reuse": "None"}))
    selector = f"selm.dev/run={name}"
    step = 0
    with watching(lab, "jobs", selector) as jobs, watching(lab, "pods", selector) as pods:
        for iteration, phase in PHASES:
            if phase == "Training":
                job = lab.in_steps(name)
                stop_and_go(lab, name, job)
                step = lab.last_checkpoint(lab.run(name))
            else:
                job = lab.in_phase(name, iteration, phase)
                stop_and_go(lab, name, job)
        run = lab.succeeded(name)
        assert_one_at_a_time(jobs, pods)
    for iteration, phase in PHASES:
        entry = phase_status(run, iteration, phase)
        assert entry["attempts"] == 2, entry
        assert lab.manifest(run, iteration, phase)["contentDigest"] == content(lab, base, iteration, phase), phase
    assert step > 0, "Training left no checkpoint"
    batch = run["spec"]["training"]["batchSize"]
    assert trained(lab.logs(f"{name}-i1-train-a2"))[0] == (step + 1) * batch, "Training went on from elsewhere"


def stop_and_go(lab: Lab, name: str, job: str) -> None:
    """Suspend, and resume as soon as the Job is being deleted: its pods still end."""
    lab.change(name, suspend=True)

    def is_leaving() -> bool:
        found = [one for one in lab.items("jobs") if one["metadata"]["name"] == job]
        return not found or "deletionTimestamp" in found[0]["metadata"]

    lab.until(f"{job} is being deleted", is_leaving)
    lab.change(name, suspend=False)
    lab.until(f"{job} is gone", lambda: job not in lab.jobs(lab.run(name)))


def content(lab: Lab, run: Json, iteration: int, phase: str) -> str:
    digest: str = lab.manifest(run, iteration, phase)["contentDigest"]
    return digest
