"""The Job controller's decisions, by sentences. What a real controller answers is in the conformance exchanges."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from selm_local.controllers.job_indexes import format_indexes, parse_indexes
from selm_local.controllers.job_pods import TRACKING_FINALIZER, build_pod
from support.job_world import World, make_job

EXIT_64 = {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64]}}]}
DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
TRAINING = {
    "backoffLimit": 0,
    "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [DISRUPTED]}, *EXIT_64["rules"]]},
}
SHARDS = {
    "backoffLimitPerIndex": 0,
    "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [DISRUPTED]}, *EXIT_64["rules"]]},
}
SUCCEEDED = [("SuccessCriteriaMet", "True"), ("Complete", "True")]
FAILED = [("FailureTarget", "True"), ("Failed", "True")]


def world(completions: int | None = 1, **spec: Any) -> World:
    """A Job whose first pods run."""
    made = World(make_job(completions, **spec))
    made.settle()
    made.run_all()
    made.settle()
    return made


def all_indexes_succeed() -> World:
    w = world(3)
    for pod in list(w.pods):
        w.end(pod)
    return w


def one_pod_fails_without_retries() -> World:
    w = world(1, backoffLimit=0)
    w.end(w.pods[0], 3)
    return w


def a_retry_fails_too() -> World:
    w = world(1, backoffLimit=1)
    w.end(w.pods[0], 1)
    w.settle()
    w.pass_seconds(10)
    w.settle()
    w.end(w.of(0)[1], 1)
    return w


def a_rule_fails_the_job() -> World:
    w = world(2, podFailurePolicy=EXIT_64)
    w.end(w.of(0)[0], 64)
    w.settle()
    w.reap()
    return w


def a_training_pod_is_disrupted() -> World:
    w = world(2, **TRAINING)
    w.end(w.of(1)[0], 143, type="DisruptionTarget")
    w.settle()
    w.reap()
    return w


def a_shard_fails_and_the_other_succeeds() -> World:
    w = world(2, **SHARDS)
    w.end(w.of(0)[0])
    w.end(w.of(1)[0], 1)
    return w


def too_many_indexes_fail() -> World:
    w = world(4, backoffLimitPerIndex=0, maxFailedIndexes=1)
    for index in (0, 1):
        w.end(w.of(index)[0], 1)
    w.settle()
    w.reap()
    return w


def the_deadline_passes() -> World:
    w = world(1, activeDeadlineSeconds=2)
    w.pass_seconds(2)
    w.settle()
    w.reap()
    return w


def a_success_rule_is_met() -> World:
    w = world(2, successPolicy={"rules": [{"succeededIndexes": "0"}]})
    w.end(w.of(0)[0])
    w.settle()
    w.reap()
    return w


def a_pool_without_completions_drains() -> World:
    w = world(None, parallelism=2)
    for pod in list(w.pods):
        w.end(pod)
    return w


@pytest.mark.parametrize(
    ("sentence", "make", "conditions", "reason", "counts"),
    [
        ("all indexes succeed", all_indexes_succeed, SUCCEEDED, "CompletionsReached", (3, 0)),
        ("one pod fails without retries", one_pod_fails_without_retries, FAILED, "BackoffLimitExceeded", (0, 1)),
        ("a retry fails too", a_retry_fails_too, FAILED, "BackoffLimitExceeded", (0, 2)),
        ("a rule fails the Job: the running pod counts too", a_rule_fails_the_job, FAILED, "PodFailurePolicy", (0, 2)),
        ("a training pod is disrupted", a_training_pod_is_disrupted, FAILED, "PodFailurePolicy", (0, 2)),
        ("a shard fails, the other succeeds", a_shard_fails_and_the_other_succeeds, FAILED, "FailedIndexes", (1, 1)),
        ("too many indexes fail", too_many_indexes_fail, FAILED, "MaxFailedIndexesExceeded", (0, 4)),
        ("the deadline passes", the_deadline_passes, FAILED, "DeadlineExceeded", (0, 1)),
        ("a success rule is met: the rest does not count", a_success_rule_is_met, SUCCEEDED, "SuccessPolicy", (1, 0)),
        (
            "a pool without completions drains",
            a_pool_without_completions_drains,
            SUCCEEDED,
            "CompletionsReached",
            (2, 0),
        ),
    ],
)
def test_how_a_job_ends(
    sentence: str, make: Callable[[], World], conditions: list[tuple[str, str]], reason: str, counts: tuple[int, int]
) -> None:
    w = make()
    w.settle()
    assert [(type_, status) for type_, status, _ in w.conditions] == conditions, sentence
    assert {found for _, _, found in w.conditions} == {reason}
    assert (w.status.get("succeeded", 0), w.status.get("failed", 0)) == counts
    assert (w.status.get("active", 0), w.status["terminating"], w.status["ready"]) == (0, 0, 0)
    assert ("completionTime" in w.status) == (conditions == SUCCEEDED)
    assert not w.status["uncountedTerminatedPods"]
    assert all(TRACKING_FINALIZER not in pod["metadata"]["finalizers"] for pod in w.pods)
    assert w.sync() is None, "a finished Job is left alone"


def test_failed_waits_until_the_last_pod_is_gone() -> None:
    w = world(2, **TRAINING)
    w.end(w.of(0)[0], 1)
    w.settle()
    assert w.conditions == [("FailureTarget", "True", "BackoffLimitExceeded")]
    assert w.status["terminating"] == 1
    w.reap()
    w.settle()
    assert [c[0] for c in w.conditions] == ["FailureTarget", "Failed"]


def test_a_replacement_waits_for_the_back_off_and_its_time_is_announced() -> None:
    w = world(1)
    w.end(w.pods[0], 1)
    w.settle()
    assert len(w.pods) == 1
    assert w.last is not None
    assert w.last.requeue == timedelta(seconds=10)
    w.pass_seconds(10)
    w.settle()
    assert len(w.pods) == 2
    w.end(w.pods[1], 1)
    w.settle()
    assert w.last.requeue == timedelta(seconds=20)


def test_a_success_resets_the_back_off() -> None:
    w = world(2)
    w.end(w.of(0)[0], 1)
    w.pass_seconds(1)
    w.end(w.of(1)[0], 0)
    w.settle()
    assert len(w.of(0)) == 2


def test_per_index_retries_carry_the_failure_count_and_end_the_index() -> None:
    w = world(2, backoffLimitPerIndex=1)
    w.end(w.of(1)[0], 1)
    w.settle()
    assert TRACKING_FINALIZER in w.of(1)[0]["metadata"]["finalizers"], "it holds the count until it is replaced"
    w.pass_seconds(10)
    w.settle()
    assert w.of(1)[1]["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    assert TRACKING_FINALIZER not in w.of(1)[0]["metadata"]["finalizers"]
    w.end(w.of(1)[1], 1)
    w.end(w.of(0)[0], 0)
    w.settle()
    assert (w.status["failedIndexes"], w.status["completedIndexes"], w.status["failed"]) == ("1", "0", 2)


def test_an_index_in_back_off_does_not_hold_up_another() -> None:
    w = World(make_job(3, backoffLimitPerIndex=1, parallelism=2))
    w.settle()
    w.end(w.of(0)[0], 1)
    w.end(w.of(1)[0], 0)
    w.settle()
    assert len(w.of(2)) == 1
    assert len(w.of(0)) == 1
    assert w.last is not None
    assert w.last.requeue == timedelta(seconds=10)


def test_fail_index_ends_an_index_whatever_its_retries() -> None:
    rule = {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]}
    w = world(2, backoffLimitPerIndex=5, podFailurePolicy=rule)
    w.end(w.of(1)[0], 42)
    w.end(w.of(0)[0], 0)
    w.settle()
    assert w.status["failedIndexes"] == "1"
    assert w.conditions[-1] == ("Failed", "True", "FailedIndexes")


def test_an_ignored_disruption_of_a_shard_is_replaced_and_never_counted() -> None:
    w = world(2, **SHARDS)
    w.end(w.of(1)[0], 143, type="DisruptionTarget")
    w.settle()
    w.pass_seconds(10)
    w.settle()
    assert len(w.of(1)) == 2
    assert "failed" not in w.status
    assert w.of(1)[1]["metadata"]["annotations"]["batch.kubernetes.io/job-index-ignored-failure-count"] == "1"


@pytest.mark.parametrize(("policy", "replaced"), [("Failed", False), ("TerminatingOrFailed", True)])
def test_when_a_deleted_pod_is_replaced(policy: str, replaced: bool) -> None:
    w = world(1, podReplacementPolicy=policy)
    w.delete(w.pods[0])
    w.settle()
    w.pass_seconds(10)
    w.settle()
    assert (len(w.of(0)) == 2) is replaced
    w.reap()
    w.settle()
    w.pass_seconds(20)
    w.settle()
    assert len(w.of(0)) == 1, "the deleted one is gone, a replacement runs"


def test_suspension_removes_pods_without_counting_and_clears_the_start() -> None:
    w = world(2, **TRAINING)
    started = w.status["startTime"]
    w.job["spec"]["suspend"] = True
    w.settle()
    w.reap(75)
    w.settle()
    assert w.pods == []
    assert w.conditions == [("Suspended", "True", "JobSuspended")]
    assert "failed" not in w.status
    assert "startTime" not in w.status
    w.job["spec"]["suspend"] = False
    w.pass_seconds(60)
    w.settle()
    assert w.conditions == [("Suspended", "False", "JobResumed")]
    assert w.status["active"] == 2
    assert w.status["startTime"] > started
    assert [reason for _, reason in w.events if reason in ("Suspended", "Resumed")] == ["Suspended", "Resumed"]


def test_pods_that_a_suspension_ended_fail_no_index_while_they_are_still_there() -> None:
    w = World(make_job(2, backoffLimitPerIndex=0, podReplacementPolicy="Failed"))
    w.settle()
    for pod in w.pods:
        pod["metadata"]["finalizers"].append("example.org/keeps-it")
    w.job["spec"]["suspend"] = True
    w.settle()
    w.reap(143)
    w.settle()
    assert len(w.pods) == 2
    assert w.conditions == [("Suspended", "True", "JobSuspended")]
    assert not w.status.get("failedIndexes")


def test_a_job_born_suspended_never_starts() -> None:
    w = World(make_job(2, suspend=True))
    w.settle()
    assert w.pods == []
    assert "startTime" not in w.status
    assert w.conditions == [("Suspended", "True", "JobSuspended")]


def test_parallelism_limits_and_the_lowest_indexes_go_first() -> None:
    w = World(make_job(5, parallelism=2))
    w.settle()
    assert [bool(w.of(i)) for i in range(5)] == [True, True, False, False, False]
    w.job["spec"]["parallelism"] = 1
    w.settle()
    assert sum("deletionTimestamp" not in p["metadata"] for p in w.pods) == 1


def test_a_job_being_deleted_makes_nothing_and_lets_its_pods_go() -> None:
    w = world(1)
    w.job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    w.settle()
    assert len(w.pods) == 1
    assert TRACKING_FINALIZER not in w.pods[0]["metadata"]["finalizers"]
    assert "failed" not in w.status


@pytest.mark.parametrize("crash", ["status", "untrack"])
@pytest.mark.parametrize("sleep", [0, 10])
def test_a_crash_between_two_effects_counts_nothing_twice(crash: str, sleep: int) -> None:
    w = world(2, backoffLimit=5)
    w.end(w.of(0)[0], 1)
    w.end(w.of(1)[0], 0)
    w.crash_before = crash
    w.sync()
    w.sync()
    w.crash_before = None
    w.pass_seconds(sleep)
    w.settle()
    assert (w.status["failed"], w.status["succeeded"]) == (1, 1)


def test_a_pod_of_an_indexed_job_has_its_index_in_every_place() -> None:
    job = make_job(3)
    job["metadata"]["name"] = "n" * 61
    job["spec"]["template"]["spec"]["initContainers"] = [{"name": "init", "image": "i"}]
    before = copy.deepcopy(job)
    pod = build_pod(job, 2)
    key = "batch.kubernetes.io/job-completion-index"
    assert pod["metadata"]["labels"][key] == pod["metadata"]["annotations"][key] == "2"
    assert pod["metadata"]["generateName"].endswith("-2-")
    assert len(pod["metadata"]["generateName"]) == 58
    assert pod["spec"]["hostname"] == f"{'n' * 61}-2"
    for container in pod["spec"]["containers"] + pod["spec"]["initContainers"]:
        assert container["env"] == [
            {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{key}']"}}}
        ]
    assert job == before, "the Job's own template is untouched"


@pytest.mark.parametrize(
    ("indexes", "text"), [({0, 1, 2}, "0-2"), ({0, 1}, "0,1"), ({0, 2, 3, 4, 9}, "0,2-4,9"), (set(), "")]
)
def test_indexes_are_written_as_kubernetes_does(indexes: set[int], text: str) -> None:
    assert format_indexes(indexes) == text
    assert parse_indexes(text, 10) == indexes
