"""A cluster in memory for the Job planner: applies its plans, ends pods on command, and moves the clock."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from selm_local.controllers.job_plan import Plan, plan
from selm_local.controllers.job_pods import TRACKING_FINALIZER
from selm_local.controllers.objects import format_time

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_job(completions: int | None = 1, **spec: Any) -> dict[str, Any]:
    """A Job as an API server stores it, defaults filled in."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "d", "uid": "job-uid"},
        "spec": {
            "completions": completions,
            "parallelism": completions or 1,
            "completionMode": "Indexed" if completions is not None else "NonIndexed",
            "backoffLimit": 2147483647 if "backoffLimitPerIndex" in spec else 6,
            "podReplacementPolicy": "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}},
            **spec,
        },
    }


class World:
    """One Job and its pods. Deleted pods linger as terminating until `reap` ends them."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.pods, self.now, self.made = job, [], START, 0
        self.events: list[tuple[str, str]] = []
        self.last: Plan | None = None
        self.crash_before: str | None = None

    @property
    def status(self) -> dict[str, Any]:
        return self.job.get("status") or {}

    @property
    def conditions(self) -> list[tuple[str, str, str]]:
        return [(c["type"], c["status"], c["reason"]) for c in self.status.get("conditions", [])]

    def of(self, index: int) -> list[dict[str, Any]]:
        """The index's pods, oldest first."""
        key = "batch.kubernetes.io/job-completion-index"
        return [p for p in self.pods if p["metadata"]["annotations"].get(key) == str(index)]

    def sync(self) -> Plan | None:
        """One pass of the controller; stops before the effect named by `crash_before`."""
        self.last = made = plan(copy.deepcopy(self.job), copy.deepcopy(self.pods), self.now)
        if made is None:
            return None
        for pod in made.delete:
            self.delete(self._own(pod), untrack=made.untrack_deleted)
        for pod in made.create:
            self._create(pod)
        if self.crash_before == "status":
            return made
        self.job["status"] = copy.deepcopy(made.status)
        self.events += [(e.type, e.reason) for e in made.events]
        if self.crash_before == "untrack":
            return made
        for pod in made.untrack:
            self._untrack(self._own(pod))
        return made

    def settle(self) -> None:
        """Passes until nothing changes any more."""
        for _ in range(20):
            before = copy.deepcopy((self.job, self.pods))
            self.sync()
            if before == (self.job, self.pods):
                return
        raise AssertionError("the controller does not come to rest")

    def run_all(self) -> None:
        for pod in self.pods:
            if pod["status"]["phase"] == "Pending":
                pod["status"]["phase"] = "Running"
                pod["status"]["conditions"] = [
                    {"type": "Ready", "status": "True", "lastTransitionTime": format_time(self.now)}
                ]

    def end(self, pod: dict[str, Any], code: int = 0, **condition: str) -> None:
        """The pod's container exits with `code`; with `type=…` the pod also gets that condition."""
        state = {"terminated": {"exitCode": code, "finishedAt": format_time(self.now)}}
        pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "main", "restartCount": 0, "state": state}],
            "conditions": [{"status": "True", **condition}] if condition else [],
        }
        self._drop_if_released(pod)

    def reap(self, code: int = 143) -> None:
        """The node ends every terminating pod."""
        for pod in list(self.pods):
            if pod["metadata"].get("deletionTimestamp") and pod["status"]["phase"] in ("Pending", "Running"):
                self.end(pod, code)

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def delete(self, pod: dict[str, Any], untrack: bool = False) -> None:
        if untrack:
            self._untrack(pod)
        pod["metadata"]["deletionTimestamp"] = format_time(self.now)
        self._drop_if_released(pod)

    def _own(self, pod: dict[str, Any]) -> dict[str, Any]:
        return next(p for p in self.pods if p["metadata"]["uid"] == pod["metadata"]["uid"])

    def _create(self, pod: dict[str, Any]) -> None:
        self.made += 1
        pod = copy.deepcopy(pod)
        pod["metadata"] |= {
            "name": f"{pod['metadata']['generateName']}{self.made:05}",
            "namespace": "d",
            "uid": f"u{self.made}",
            "creationTimestamp": format_time(self.now),
        }
        pod["status"] = {"phase": "Pending"}
        self.pods.append(pod)

    def _untrack(self, pod: dict[str, Any]) -> None:
        finalizers = pod["metadata"]["finalizers"]
        if TRACKING_FINALIZER in finalizers:
            finalizers.remove(TRACKING_FINALIZER)
        self._drop_if_released(pod)

    def _drop_if_released(self, pod: dict[str, Any]) -> None:
        ended = pod["status"]["phase"] in ("Succeeded", "Failed")
        if pod["metadata"].get("deletionTimestamp") and ended and not pod["metadata"]["finalizers"]:
            self.pods.remove(pod)
