"""Pods that cannot start: the run says why, and goes on once that is mended."""

from __future__ import annotations

import json

import pytest

from support.e2e_runs import make_run
from support.lab import Json, Lab, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def pod_templates(**patch: object) -> list[Json]:
    return [{"phase": "All", "env": [{"name": "OMP_NUM_THREADS", "value": "1"}], **patch}]


def test_a_run_tells_why_its_pods_do_not_start(lab: Lab, inputs: dict[str, str]) -> None:
    name = "pending"
    nowhere = pod_templates(nodeSelector={"selm.dev/no-such-node": "true"})
    lab.apply(make_run(name, inputs, seed=203, podTemplates=nowhere))
    said = lab.in_condition(name, "Succeeded", "Unknown", "Pending")["message"]
    assert "Preparation of iteration 0" in said
    assert "unschedulable" in said
    assert condition(lab.run(name), "Reconciling")["status"] == "True"

    repair(lab, name, podTemplates=pod_templates(), scheduling={"priorityClassName": "no-such-class"})
    lab.until("the run tells why no pod is made", lambda: "no-such-class" in message(lab, name))
    assert "are not made" in message(lab, name)

    repair(lab, name, scheduling={"priorityClassName": None})
    lab.in_phase(name, 0, "Preparation")
    lab.delete_run(name)


def test_a_quota_that_is_used_up_is_told(lab: Lab, inputs: dict[str, str]) -> None:
    name = "over-quota"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": {"pods": "0"}}}
    made = lab.kubectl_process("create", "-f", "-", stdin=json.dumps(quota))
    if made.returncode != 0:
        pytest.skip(f"this cluster has no quotas: {made.stderr.strip()}")
    try:
        lab.apply(make_run(name, inputs, seed=204))
        lab.until("the run tells that no pod is made", lambda: f"exceeded quota: {name}" in message(lab, name))
    finally:
        lab.kubectl("delete", "quota", name)
    lab.in_phase(name, 0, "Preparation")
    lab.delete_run(name)


def repair(lab: Lab, name: str, **changes: object) -> None:
    lab.change(name, suspend=True)
    lab.in_condition(name, "Suspended", "True", "Suspended")
    lab.change(name, suspend=False, **changes)


def message(lab: Lab, name: str) -> str:
    return str(condition(lab.run(name), "Succeeded").get("message", ""))
