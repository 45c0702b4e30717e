"""Pod failure policy and success policy of Jobs: pure matching of rules (batch/v1, KEP-3329 and KEP-3998)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selm_local.controllers.job_indexes import parse_indexes
from selm_local.controllers.objects import Obj, is_deleting, meta, name_of, namespace_of, pod_phase

Action = Literal["FailJob", "FailIndex", "Ignore", "Count"]


@dataclass(frozen=True)
class FailureMatch:
    """What the pod failure policy says of one failed pod.

    `action` is None where no rule matched (the failure then counts); `message` is set for FailJob only.
    """

    action: Action | None = None
    counts: bool = True
    message: str | None = None


def replaces_only_failed(job: Obj) -> bool:
    """Whether a pod is replaced, and counted, only once it has fully ended (podReplacementPolicy: Failed)."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def is_pod_failed(pod: Obj, job: Obj) -> bool:
    """Whether the controller takes a pod for failed.

    Under TerminatingOrFailed a pod being deleted counts as failed too, since it may never reach the phase.
    """
    if pod_phase(pod) == "Failed":
        return True
    if replaces_only_failed(job):
        return False
    return is_deleting(pod) and pod_phase(pod) != "Succeeded"


def match_failure_policy(job: Obj, pod: Obj) -> FailureMatch:
    """The first rule of `spec.podFailurePolicy` that matches a failed pod."""
    policy = job["spec"].get("podFailurePolicy")
    if not policy:
        return FailureMatch()
    for index, rule in enumerate(policy.get("rules") or []):
        reason = _matches(rule, pod)
        if reason is None:
            continue
        action: Action = rule["action"]
        message = f"{reason} matching {action} rule at index {index}" if action == "FailJob" else None
        return FailureMatch(action, action != "Ignore", message)
    return FailureMatch()


def fail_job_message(job: Obj, pods: list[Obj]) -> str | None:
    """Why the pod failure policy fails the whole Job, or None where it does not."""
    if not job["spec"].get("podFailurePolicy"):
        return None
    for pod in pods:
        if is_pod_failed(pod, job) and (message := match_failure_policy(job, pod).message):
            return message
    return None


def match_success_policy(job: Obj, succeeded: set[int]) -> str | None:
    """The message of the first success rule that is met, or None."""
    policy = job["spec"].get("successPolicy")
    if not policy or not succeeded:
        return None
    completions = int(job["spec"]["completions"])
    for index, rule in enumerate(policy.get("rules") or []):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            required = parse_indexes(rule["succeededIndexes"], completions)
            met = len(succeeded & required) >= count if count is not None else required <= succeeded
        else:
            met = count is not None and len(succeeded) >= count
        if met:
            return f"Matched rules at index {index}"
    return None


def _matches(rule: Obj, pod: Obj) -> str | None:
    where = f"{namespace_of(pod)}/{name_of(pod)}"
    if (codes := rule.get("onExitCodes")) is not None:
        status = pod.get("status") or {}
        statuses = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
        for container in statuses:
            ended = (container.get("state") or {}).get("terminated")
            if ended is None or codes.get("containerName") not in (None, container["name"]):
                continue
            code = int(ended["exitCode"])
            # A container that ended well never matches, whatever the operator says.
            if code != 0 and (code in codes["values"]) == (codes["operator"] == "In"):
                return f"Container {container['name']} for pod {where} failed with exit code {code}"
    elif (patterns := rule.get("onPodConditions")) is not None:
        for found in (pod.get("status") or {}).get("conditions") or []:
            for pattern in patterns:
                if found["type"] == pattern["type"] and found["status"] == pattern.get("status", "True"):
                    return f"Pod {where} has condition {found['type']}"
    return None


def completion_index(pod: Obj) -> int | None:
    """The pod's completion index by its annotation, or None where it has no valid one."""
    text = (meta(pod).get("annotations") or {}).get("batch.kubernetes.io/job-completion-index", "")
    return int(text) if text.isascii() and text.isdigit() else None
