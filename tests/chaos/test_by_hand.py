"""Pods and Jobs that others take away: it counts against nobody, and the weights are the same."""

from __future__ import annotations

import json

import pytest

from support.e2e_runs import long_training
from support.e2e_watch import assert_one_at_a_time, exit_codes, watching
from support.lab import Json, Lab, phase_status, trained

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME = "by-hand"


def test_evicted_pods_deleted_pods_and_a_deleted_job_count_nothing(
    lab: Lab, inputs: dict[str, str], base: Json
) -> None:
    selector = f"selm.dev/run={NAME}"
    with watching(lab, "jobs", selector) as jobs, watching(lab, "pods", selector) as pods:
        lab.apply(long_training(NAME, inputs, variant=3, retry={"maxAttempts": 1}))
        evicted = lab.pods(lab.in_phase(NAME, 0, "Preparation"))[0]
        evict(lab, evicted)

        first = lab.in_steps(NAME)
        evict(lab, lab.pods(first)[1])
        # Its peer ends with it, at the same step: whichever pod the Job sees first says why.
        told(lab, 1, "disrupt", "asked to end")
        step = lab.last_checkpoint(lab.run(NAME))

        second = in_next_steps(lab, first)
        delete_now(lab, lab.pods(second)[1])
        told(lab, 2)

        third = in_next_steps(lab, second)
        lab.kubectl("delete", "job", third, "--wait=false")
        fourth = in_next_steps(lab, third)

        run = lab.succeeded(NAME)
        assert_one_at_a_time(jobs, pods)
    # The Job replaces a pod that was disrupted. One that was done before may take its last words with it: then a second
    # attempt finds what it committed.
    was_done = 0 in exit_codes(pods.events, lambda pod: pod["metadata"]["uid"] == evicted["metadata"]["uid"])
    assert phase_status(run, 0, "Preparation")["attempts"] in ((1, 2) if was_done else (1,))
    assert [first, second, third, fourth] == [f"{NAME}-i1-train-a{n}" for n in (1, 2, 3, 4)]
    assert phase_status(run, 1, "Training")["attempts"] == 4
    assert step > 0, "an evicted trainer leaves a checkpoint"
    assert trained(lab.logs(fourth))[0] > step * run["spec"]["training"]["batchSize"], "progress was lost"
    assert lab.manifest(run, 1, "Training")["contentDigest"] == lab.manifest(base, 1, "Training")["contentDigest"]


def evict(lab: Lab, pod: Json) -> None:
    """As a drained node does it."""
    meta = {"name": pod["metadata"]["name"], "namespace": lab.namespace}
    path = f"/api/v1/namespaces/{lab.namespace}/pods/{meta['name']}/eviction"
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta})
    done = lab.kubectl_process("create", "--raw", path, "-f", "-", namespaced=False, stdin=body)
    if "NotFound" in done.stderr and "pods" not in done.stderr:
        pytest.skip(f"this cluster has no evictions: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def delete_now(lab: Lab, pod: Json) -> None:
    """Without grace: the pod is killed and writes no checkpoint; its peer ends with 76."""
    lab.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")


def told(lab: Lab, attempt: int, *either: str) -> None:
    """The end of an attempt of Training is in the book, in one of these words, and does not count."""

    def failure() -> Json:
        found: Json = lab.run(NAME)["status"]["current"].get("failure", {})
        return found if found.get("attempt") == attempt else {}

    found = lab.until(f"attempt {attempt} is accounted", failure)
    assert not found.get("counted"), found
    assert not either or any(words in found["message"].lower() for words in either), found


def in_next_steps(lab: Lab, job: str) -> str:
    """Wait until an attempt after `job` does steps; returns its Job's name."""
    lab.until(f"{job} has a successor", lambda: lab.run(NAME)["status"]["current"].get("jobName") != job)
    return lab.in_steps(NAME)
