"""The pods of a Job: how one is built from the template, and which of the active ones go first."""

from __future__ import annotations

import copy

from selm_local.controllers.job_policy import completion_index, match_failure_policy
from selm_local.controllers.objects import Obj, condition_is, meta, name_of, parse_time, pod_phase, reference_to

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
# A generated name is a prefix and five characters within 63.
PREFIX_LIMIT = 58


def build_pod(job: Obj, index: int | None, replaced: Obj | None = None) -> Obj:
    """A pod for this Job, for one completion index where the Job is Indexed.

    replaced: the failed pod of the same index whose failure count the new one carries on (backoffLimitPerIndex).
    """
    template = copy.deepcopy(job["spec"]["template"])
    metadata = template.get("metadata") or {}
    labels = dict(metadata.get("labels") or {})
    annotations = dict(metadata.get("annotations") or {})
    spec: Obj = template["spec"]
    prefix = f"{name_of(job)}-"
    if index is not None:
        labels[INDEX] = annotations[INDEX] = str(index)
        # The whole of "-<index>-" must survive the cut: it is what tells the pods of one Job apart.
        prefix = f"{name_of(job)[: PREFIX_LIMIT - len(str(index)) - 2]}-{index}-"
        spec["hostname"] = f"{name_of(job)}-{index}"
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
            _add_index_variable(container)
        if job["spec"].get("backoffLimitPerIndex") is not None:
            failures, ignored = _index_failures(job, replaced)
            annotations[INDEX_FAILURES] = str(failures)
            if ignored:
                annotations[INDEX_IGNORED] = str(ignored)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": prefix[:PREFIX_LIMIT],
            "labels": labels,
            "annotations": annotations,
            "finalizers": [*(metadata.get("finalizers") or []), TRACKING_FINALIZER],
            "ownerReferences": [reference_to(job)],
        },
        "spec": spec,
    }


def index_failure_count(pod: Obj) -> int:
    """How many counted failures the pod's index had before this pod."""
    return _annotation(pod, INDEX_FAILURES)


def index_absolute_failures(pod: Obj) -> int:
    """The same with failures that the policy ignored: they too lengthen the back-off."""
    return _annotation(pod, INDEX_FAILURES) + _annotation(pod, INDEX_IGNORED)


def is_tracked(pod: Obj) -> bool:
    """Whether the pod still carries the finalizer that keeps it until the Job has counted it."""
    return TRACKING_FINALIZER in (meta(pod).get("finalizers") or [])


def pods_to_remove(job: Obj, active: list[Obj], at_least: int) -> list[Obj]:
    """Which active pods to delete: all superfluous ones of an index, then the least advanced until `at_least`."""
    removed: list[Obj] = []
    left = sorted(active, key=_advancement)
    if job["spec"].get("completionMode") == "Indexed":
        completions = int(job["spec"]["completions"])
        kept: dict[int, Obj] = {}
        for pod in reversed(left):  # the most advanced pod of an index stays
            index = completion_index(pod)
            if index is None or index >= completions or index in kept:
                removed.append(pod)
            else:
                kept[index] = pod
        left = [pod for pod in left if pod not in removed]
    return removed + left[: max(at_least - len(removed), 0)]


def _advancement(pod: Obj) -> tuple[bool, int, bool, float, int, float]:
    status = pod.get("status") or {}
    ready = condition_is(pod, "Ready")
    since = next((one["lastTransitionTime"] for one in status.get("conditions") or [] if one["type"] == "Ready"), None)
    created = parse_time(meta(pod)["creationTimestamp"])
    moment = parse_time(since) if since else created
    # Ready for longer, and older, is more advanced: times therefore sort in reverse.
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(pod_phase(pod), 2),
        ready,
        -moment.timestamp(),
        -sum(int(one.get("restartCount", 0)) for one in status.get("containerStatuses") or []),
        -created.timestamp(),
    )


def _add_index_variable(container: Obj) -> None:
    env = container.setdefault("env", [])
    if any(one["name"] == "JOB_COMPLETION_INDEX" for one in env):
        return
    env.append(
        {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}}
    )


def _index_failures(job: Obj, replaced: Obj | None) -> tuple[int, int]:
    if replaced is None:
        return 0, 0
    counted, ignored = _annotation(replaced, INDEX_FAILURES), _annotation(replaced, INDEX_IGNORED)
    return (counted + 1, ignored) if match_failure_policy(job, replaced).counts else (counted, ignored + 1)


def _annotation(pod: Obj, name: str) -> int:
    text = (meta(pod).get("annotations") or {}).get(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0
