"""The Job of one attempt."""

from __future__ import annotations

from typing import Any

from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import SELMRunStatus
from selm_operator.constants import (
    APP_NAME,
    CONTAINER,
    LABEL_ATTEMPT,
    LABEL_ITERATION,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_PHASE,
    LABEL_QUEUE,
    LABEL_RUN,
    LABEL_RUN_UID,
    MANAGED_BY,
)
from selm_operator.manifests.names import job_name, owner_reference, service_name
from selm_operator.manifests.pod import build_pod_template
from selm_operator.phase_config import Attempt, phase_config
from selm_operator.settings import Settings
from selm_operator.snapshot import RunView
from selm_runtime.contract import ExitCode, Phase

Json = dict[str, Any]


def build_job(
    run: RunView, spec: SELMRunSpec, status: SELMRunStatus, attempt: Attempt, image: str, settings: Settings
) -> Json:
    """An Indexed Job: one index a shard or node. `suspend` is not set: whether it is, is the queue's business."""
    labels = labels_of(run, attempt)
    pods = pods_of_phase(spec, attempt.phase)
    subdomain = service_name(run.name) if attempt.phase is Phase.TRAINING else None
    config = phase_config(run, spec, status, attempt)
    queue = {LABEL_QUEUE: spec.scheduling.queue_name} if spec.scheduling.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run.name, attempt.iteration, attempt.phase, attempt.number),
            "namespace": run.namespace,
            "labels": {**labels, **queue},
            "ownerReferences": [owner_reference(run)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "podReplacementPolicy": "Failed",  # a replacement must not start while the old pod holds GPU, port and rank
            **failure_policy(attempt.phase),
            "template": build_pod_template(spec, config, image, labels, subdomain, settings),
        },
    }


def labels_of(run: RunView, attempt: Attempt) -> dict[str, str]:
    """Of the Job and its pods. The run's own labels are not copied: they mean something to those who set them."""
    return {
        LABEL_NAME: APP_NAME,
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_RUN: run.name,
        LABEL_RUN_UID: run.uid,
        LABEL_PHASE: attempt.phase.value,
        LABEL_ITERATION: str(attempt.iteration),
        LABEL_ATTEMPT: str(attempt.number),
    }


def pods_of_phase(spec: SELMRunSpec, phase: Phase) -> int:
    """Shards of Generation and Scoring, nodes of Training, one pod otherwise."""
    counts = {
        Phase.GENERATION: spec.generation.shards,
        Phase.SCORING: spec.scoring.shards,
        Phase.TRAINING: spec.training.nodes,
    }
    return counts.get(phase, 1)


def failure_policy(phase: Phase) -> Json:
    """All or nothing for Training: one lost rank ends the attempt, for a rank alone cannot be replaced. Shards fail each
    by itself, and a disrupted one is replaced without a word.

    The order of the rules is read back from the Job's condition (`decide.endings`). There is none for 75: a queue that
    suspends the Job ends its pods with 75, and a rule would make that final.
    """
    disrupted: Json = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    refused: Json = {
        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [int(ExitCode.INVALID_INPUT)]}
    }
    of_disruption = "FailJob" if phase is Phase.TRAINING else "Ignore"
    rules = [{"action": of_disruption, **disrupted}, {"action": "FailJob", **refused}]
    limit = {"backoffLimit": 0} if phase is Phase.TRAINING else {"backoffLimitPerIndex": 0}
    return {**limit, "podFailurePolicy": {"rules": rules}}
