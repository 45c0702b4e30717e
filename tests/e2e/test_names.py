"""Names that are taken: nothing is taken over, the run waits and says for what."""

from __future__ import annotations

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def foreign_job(name: str) -> Json:
    """A Job of somebody else; suspended, so that it costs nothing."""
    container = {"name": "main", "image": "busybox:1.36", "command": ["true"]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


def test_a_job_of_another_owner_is_waited_for(lab: Lab, inputs: dict[str, str]) -> None:
    name, job = "taken", "taken-i0-prep-a1"
    lab.apply(foreign_job(job))
    uid = job_uid(lab, job)
    lab.apply(make_run(name, inputs, seed=201))
    found = lab.in_condition(name, "Succeeded", "Unknown", "WaitingForOldJob")
    assert job in found["message"]
    assert "nobody" in found["message"]
    assert job_uid(lab, job) == uid
    lab.kubectl("delete", "job", job)
    assert lab.in_phase(name, 0, "Preparation") == job
    assert job_uid(lab, job) != uid
    lab.delete_run(name)


def test_a_run_of_the_same_name_waits_for_the_jobs_of_the_one_that_was_deleted(
    lab: Lab, inputs: dict[str, str]
) -> None:
    name = "again"
    run = make_run(name, inputs, seed=202)
    lab.apply(run)
    job = lab.in_phase(name, 0, "Preparation")
    first, old = lab.run(name)["metadata"]["uid"], job_uid(lab, job)
    lab.kubectl("delete", "selmrun", name, "--wait=false")
    lab.until("the run is gone", lambda: lab.kubectl_process("get", "selmrun", name).returncode != 0)
    lab.apply(run)
    second = lab.run(name)["metadata"]["uid"]
    assert second != first
    lab.until("the new run's Job is made", lambda: job_uid(lab, job) not in ("", old))
    assert lab.jobs(lab.run(name)).keys() == {job}
    lab.in_phase(name, 0, "Evaluation")
    assert not lab.items("jobs", "-l", f"selm.dev/run-uid={first}")
    lab.delete_run(name)


def job_uid(lab: Lab, name: str) -> str:
    return next((j["metadata"]["uid"] for j in lab.items("jobs") if j["metadata"]["name"] == name), "")
