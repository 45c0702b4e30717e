"""Operators that are away, that change, and that are two: no Job is made twice or replaced."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import psutil
import pytest

from support.e2e_operators import operator_away, own_operator, skip_unless_ours
from support.e2e_runs import long_training
from support.e2e_watch import assert_one_at_a_time, watching
from support.lab import Json, Lab, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

UPGRADED = {
    "SELM_RUNTIME_IMAGE": "selm-runtime:next",
    "SELM_PREPARATION_RESOURCES": '{"requests": {"cpu": "2"}}',
}


def test_what_happened_without_an_operator_is_made_good_by_one_of_another_version(
    lab: Lab, inputs: dict[str, str], base: Json, tmp_path: Path
) -> None:
    """The upgraded operator takes over while a Job is at work; then there is none, and the finished Job is deleted."""
    skip_unless_ours(lab)
    name, log = "unseen", tmp_path / "upgraded.log"
    with contextlib.ExitStack() as standing_by:
        standing_by.enter_context(own_operator(lab, log, **UPGRADED))
        lab.apply(long_training(name, inputs, variant=4))
        training = lab.in_steps(name)
        uid = lab.jobs(lab.run(name))[training]
        with operator_away(lab):
            lab.until("the upgraded operator leads", lambda: holds_lease(lab, log))
            assert lab.in_phase(name, 1, "Training") == training
            standing_by.close()
            lab.until(f"{training} is complete", lambda: is_complete(lab, training), 300)
            assert lab.jobs(lab.run(name))[training] == uid, "the upgrade replaced a Job"
            assert phase_status(lab.run(name), 1, "Training")["state"] == "Running"
            committed = {o["Key"] for o in lab.objects(f"artifacts/{lab.namespace}/{name}-")}
            lab.kubectl("delete", "job", training)
            with own_operator(lab, log, **UPGRADED):
                run = lab.succeeded(name)
    again = f"{name}-i1-train-a2"
    assert [r["selm"] for r in lab.logs(again)][-1] == "already-committed"
    assert not [key for key in committed if key not in {o["Key"] for o in lab.objects(f"artifacts/{lab.namespace}/")}]
    assert {entry["image"] for entry in run["status"]["images"]} == {"selm-runtime:local"}
    assert lab.manifest(run, 1, "Training")["contentDigest"] == lab.manifest(base, 1, "Training")["contentDigest"]
    assert "failure" not in run["status"]["current"]


def test_of_two_operators_one_acts_and_one_that_woke_late_writes_nothing(
    lab: Lab, inputs: dict[str, str], base: Json, tmp_path: Path
) -> None:
    skip_unless_ours(lab)
    assert base["status"]["iterations"]
    name, logs = "two-operators", (tmp_path / "first.log", tmp_path / "second.log")
    with (
        operator_away(lab),
        own_operator(lab, logs[0]) as first,
        watching(lab, "jobs", f"selm.dev/run={name}") as jobs,
        watching(lab, "pods", f"selm.dev/run={name}") as pods,
    ):
        lab.until("the first operator leads", lambda: holds_lease(lab, logs[0]))
        with own_operator(lab, logs[1]) as second:
            lab.apply(long_training(name, inputs, variant=5))
            lab.in_steps(name)
            assert not created(logs[1], name), "the second operator acts beside the first"
            first.suspend()
            lab.until("the second operator leads", lambda: holds_lease(lab, logs[1]), 60)
            lab.until("the second operator goes on", lambda: created(logs[1], name), 300)
            before = created(logs[0], name)
            first.resume()
            assert first.wait(60) == 1, "an operator that lost the lease must end"
            run = lab.succeeded(name)
            assert second.status() != psutil.STATUS_ZOMBIE
            assert_one_at_a_time(jobs, pods)
        assert created(logs[0], name) == before, "a stale leader made a Job"
        assert sorted([*before, *created(logs[1], name)]) == sorted(lab.jobs(run)), "a Job was made twice, or by nobody"
    assert all(p["attempts"] == 1 for entry in run["status"]["iterations"] for p in entry["phases"])


def created(log: Path, run: str) -> list[str]:
    """Names of a run's Jobs that an operator says to have made."""
    return re.findall(rf"created Job \S+/({run}-i\S+)", log.read_text())


def holds_lease(lab: Lab, log: Path) -> bool:
    """Whether the Lease names the operator that writes this log."""
    found = re.findall(r"holding the lease (\S+)/(\S+) as (\S+)", log.read_text())
    if not found:
        return False
    namespace, name, identity = found[-1]
    text = lab.kubectl("get", "lease", name, "-n", namespace, "-o", "json", namespaced=False)
    lease: Json = json.loads(text)
    return bool(lease["spec"].get("holderIdentity") == identity)


def is_complete(lab: Lab, job: str) -> bool:
    found = json.loads(lab.kubectl("get", "job", job, "-o", "json"))
    return any(c["type"] == "Complete" and c["status"] == "True" for c in found["status"].get("conditions", []))
