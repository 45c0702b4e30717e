"""Pods of the operator's benchmark as a Job controller makes them and as a node reports them."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from benchmarks.operator_cluster import NODE
from selm_operator.constants import (
    ANNOTATION_COMPLETION_INDEX,
    CONTAINER,
    LABEL_ITERATION,
    LABEL_JOB_NAME,
    LABEL_PHASE,
    LABEL_RUN_UID,
)
from selm_runtime.contract import Phase, ShardProgress, TerminationMessage

Json = dict[str, Any]


def is_complete(job: Json) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod_of(job: Json, index: int) -> Json:
    """The pod that the Job controller makes for one index, bound already."""
    metadata, template = job["metadata"], job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    labels = {**(template["metadata"].get("labels") or {}), ANNOTATION_COMPLETION_INDEX: str(index)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-{index}-{uuid.uuid4().hex[:5]}",
            "labels": {**labels, LABEL_JOB_NAME: metadata["name"]},
            "annotations": {ANNOTATION_COMPLETION_INDEX: str(index)},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {**template["spec"], "nodeName": NODE, "hostname": f"{metadata['name']}-{index}"},
    }


def running(pod: Json) -> Json:
    time_ = now()
    return _pod_status(pod, "Running", {"running": {"startedAt": time_}}, ready=True)


def succeeded(pod: Json) -> Json:
    time_ = now()
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": time_, "finishedAt": time_, "message": last_words(pod)}
    return _pod_status(pod, "Succeeded", {"terminated": ended}, ready=False)


def _pod_status(pod: Json, phase: str, state: Json, *, ready: bool) -> Json:
    image = pod["spec"]["containers"][0]["image"]
    container = {
        "name": CONTAINER,
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "image": image,
        "imageID": f"registry.example/selm-runtime@sha256:{'0' * 64}",
        "containerID": f"containerd://{pod['metadata']['uid']}",
        "state": state,
    }
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()},
        {"type": "Ready", "status": str(ready), "lastProbeTime": None, "lastTransitionTime": now()},
    ]
    old = pod.get("status") or {}
    status = {"phase": phase, "startTime": old.get("startTime") or now(), "containerStatuses": [container]}
    return {**status, "conditions": conditions, "qosClass": old.get("qosClass", "BestEffort")}


METRICS = {
    Phase.PREPARATION: (),
    Phase.GENERATION: ("tokensPerSecond", "meanLength"),
    Phase.SCORING: ("meanReward", "pairs", "meanMargin"),
    Phase.TRAINING: ("loss", "rewardAccuracy", "rewardMargin", "logRatioExplored", "gradNorm", "steps"),
    Phase.EVALUATION: ("meanReward", "winRateAgainstBase", "winRateAgainstPrevious", "preferenceAccuracy", "kl"),
}


def last_words(pod: Json) -> str:
    """The termination message of a pod whose phase is committed."""
    labels = pod["metadata"]["labels"]
    phase, iteration = Phase(labels[LABEL_PHASE]), int(labels[LABEL_ITERATION])
    text = json.dumps([labels[LABEL_RUN_UID], iteration, phase.value])
    message = TerminationMessage(
        manifest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        rows=1000,
        chunks=ShardProgress(done=8, total=8) if phase in (Phase.GENERATION, Phase.SCORING) else None,
        checkpoint_step=200 if phase is Phase.TRAINING else None,
        metrics=dict.fromkeys(METRICS[phase], 0.123456),
        best_iteration=iteration if phase is Phase.EVALUATION else None,
        model_uri=f"s3://benchmark/selm/iter-{iteration}/training" if phase is Phase.EVALUATION else None,
    )
    return message.model_dump_json(by_alias=True, exclude_none=True)
