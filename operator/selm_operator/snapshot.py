"""What one pass sees: the run, its Jobs, the pods whose state matters now, and the time. Read once, then frozen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from selm_operator.api.immutable import immutable_digests
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import SELMRunStatus
from selm_operator.api.validate import validate_spec
from selm_operator.constants import (
    ANNOTATION_COMPLETION_INDEX,
    CONTAINER,
    LABEL_ATTEMPT,
    LABEL_ITERATION,
    LABEL_PHASE,
    LABEL_QUEUE,
)
from selm_operator.settings import Settings
from selm_runtime.contract import Phase, TerminationMessage

Json = dict[str, Any]

SPECS_KEPT = 2048
"""Read specs that are remembered; some 15 KiB each."""

IMAGE_DIGEST = re.compile(r"@(sha256:[0-9a-f]{64})$")


def parse_time(text: str | None) -> datetime | None:
    """A `metav1.Time` or `metav1.MicroTime`."""
    return None if not text else datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


@dataclass(frozen=True)
class Condition:
    """A Job's condition that is True."""

    reason: str
    message: str
    time: datetime | None


@dataclass(frozen=True)
class JobView:
    """One of the run's Jobs, reduced to what is decided by."""

    name: str
    uid: str
    phase: Phase
    iteration: int
    attempt: int
    created: datetime
    deleted: datetime | None
    """When its deletion was asked for; it may stay for its pods' grace, or for ever on a lost node."""
    grace_seconds: int
    image: str
    pods: int
    """Pods at one time; a queue may have admitted fewer than there are indexes."""
    indexes: int
    gpus_per_pod: int
    complete: Condition | None
    failed: Condition | None
    failure_target: Condition | None
    """Its fate is sealed, its pods still end. Some never do."""
    suspended: Condition | None
    started: datetime | None
    ended: datetime | None
    ready: int
    succeeded: int
    queue: str | None = None
    """The queue that may hold it suspended."""

    @property
    def position(self) -> tuple[int, int]:
        """Where the Job stands in the run's order of phases."""
        return (self.iteration, list(Phase).index(self.phase))

    def overdue(self, since: datetime | None, now: datetime, margin: float) -> bool:
        """Whether `since` is longer ago than the pods' grace and the margin (seconds)."""
        return since is not None and now >= since + timedelta(seconds=self.grace_seconds + margin)

    def abandoned(self, now: datetime, margin: float) -> bool:
        """Whether its deletion takes longer than its pods may: a node is lost, and nobody waits for it any more."""
        return self.overdue(self.deleted, now, margin)

    def is_late(self, now: datetime, grace: float) -> bool:
        """Whether pods that should run by now do not: `grace` seconds after the Job's start some are not ready."""
        lacking = self.ready + self.succeeded < self.pods
        return self.suspended is None and lacking and self.at_work_for(now) >= grace

    def at_work_for(self, now: datetime) -> float:
        """Seconds since its pods were let start."""
        return (now - (self.started or self.created)).total_seconds()

    def has_failed(self, now: datetime, margin: float) -> bool:
        """Failed, or sealed to fail for so long that a lost node must hold the condition back."""
        target = self.failure_target
        return self.failed is not None or (target is not None and self.overdue(target.time, now, margin))

    def active(self, now: datetime, margin: float) -> bool:
        """Neither terminal nor abandoned: its pods may run. A Job being deleted is active until it is gone."""
        return self.complete is None and not self.has_failed(now, margin) and not self.abandoned(now, margin)


@dataclass(frozen=True)
class PodView:
    """One pod of the Job at hand."""

    name: str
    index: int
    phase: str
    disrupted: bool
    unschedulable: str | None
    waiting: tuple[str, str] | None
    """Reason and message of a container that does not start."""
    exit_code: int | None
    ended: datetime | None
    ended_reason: str | None
    """Kubernetes' own word for the end, `OOMKilled` for one."""
    said: TerminationMessage | None
    last_words: str
    image_digest: str | None
    deleted: datetime | None = None
    """When its grace ends, where its deletion was asked for."""

    def runs(self, now: datetime, margin: float) -> bool:
        """Whether it may hold its node's devices; one that outlives its grace by the margin is on a lost node."""
        overdue = self.deleted is not None and now >= self.deleted + timedelta(seconds=margin)
        return self.phase in ("Pending", "Running") and not overdue


@dataclass(frozen=True)
class ServiceView:
    name: str
    ours: bool
    uid: str = ""


@dataclass(frozen=True)
class ControlView:
    """What holds the control run's name. `uid` is None where nothing does."""

    uid: str | None = None
    ours: bool = False
    owners: str = ""
    """Of another's run: who owns it, in words."""
    refused: str | None = None
    """What the API server answered to this pass's POST, where it refused the object."""


@dataclass(frozen=True)
class RunView:
    """The run as read. `spec` is None where it breaks a rule of the API; `spec_errors` then say which."""

    namespace: str
    name: str
    uid: str
    generation: int
    deleting: bool
    spec: SELMRunSpec | None
    spec_errors: tuple[str, ...]
    immutable: Mapping[str, str]
    """By top-level field of the spec, the digest of what may never change in it."""
    status: SELMRunStatus


@dataclass(frozen=True)
class Obstacle:
    """What the API server answered to this pass's effect: the pass is decided once more, knowing it."""

    kind: str
    """`JobNameTaken` or `EffectRefused`."""
    message: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that a decision may depend on."""

    run: RunView
    jobs: tuple[JobView, ...]
    now: datetime
    settings: Settings
    pods: tuple[PodView, ...] = ()
    pods_of: str | None = None
    """Name of the Job whose pods were read; None: none were."""
    not_made: str | None = None
    """Why pods of that Job are not made, in the API server's words: a quota, an admission rule."""
    service: ServiceView | None = None
    control: ControlView | None = None
    """Read where a control run is due and not in the book; else None."""
    obstacle: Obstacle | None = None


def read_run(obj: Json) -> RunView:
    """A SELMRun as the API server sends it.

    Raises pydantic.ValidationError where the *status* is not one that this operator can read: it wrote it, so there is
    nothing that a user could repair, and a guess could undo a commit.
    """
    metadata = obj["metadata"]
    judged = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    spec, errors, immutable = _read_spec(metadata["name"], json.dumps(judged))
    return RunView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation") or 0),
        deleting="deletionTimestamp" in metadata,
        spec=spec,
        spec_errors=errors,
        immutable=immutable,
        status=SELMRunStatus.model_validate(obj.get("status") or {}),
    )


@lru_cache(maxsize=SPECS_KEPT)
def _read_spec(name: str, judged: str) -> tuple[SELMRunSpec | None, tuple[str, ...], Mapping[str, str]]:
    """The spec of a run, or what is wrong with it, and its immutable part's digests: a third of a pass' work, and the same
    from pass to pass.

    `judged` is all of the object that validation looks at beside the name, as JSON.
    """
    obj: Json = {**json.loads(judged), "metadata": {"name": name}}
    errors = tuple(str(error) for error in validate_spec(obj))
    if errors:
        return None, errors, {}
    spec = SELMRunSpec.model_validate(obj["spec"])
    return spec, (), immutable_digests(spec)


def read_job(obj: Json) -> JobView | None:
    """A Job with the operator's labels; None where they do not parse (somebody else wrote them)."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    try:
        phase = Phase(labels[LABEL_PHASE])
        iteration, attempt = int(labels[LABEL_ITERATION]), int(labels[LABEL_ATTEMPT])
    except (KeyError, ValueError):
        return None
    conditions = {
        c["type"]: Condition(c.get("reason") or "", c.get("message") or "", parse_time(c.get("lastTransitionTime")))
        for c in status.get("conditions") or ()
        if c.get("status") == "True"
    }
    template = spec["template"]["spec"]
    created = parse_time(metadata["creationTimestamp"])
    if created is None:
        return None
    complete, failed = conditions.get("Complete"), conditions.get("Failed")
    over = complete or failed
    return JobView(
        name=metadata["name"],
        uid=metadata["uid"],
        phase=phase,
        iteration=iteration,
        attempt=attempt,
        created=created,
        deleted=parse_time(metadata.get("deletionTimestamp")),
        grace_seconds=int(template.get("terminationGracePeriodSeconds", 30)),
        image=template["containers"][0]["image"],
        pods=int(spec.get("parallelism", 1)),
        indexes=int(spec.get("completions") or spec.get("parallelism", 1)),
        gpus_per_pod=gpus_of(template["containers"][0].get("resources") or {}),
        complete=complete,
        failed=failed,
        failure_target=conditions.get("FailureTarget"),
        suspended=conditions.get("Suspended"),
        started=parse_time(status.get("startTime")),
        ended=parse_time(status.get("completionTime")) or (over.time if over else None),
        ready=int(status.get("ready") or 0),
        succeeded=int(status.get("succeeded") or 0),
        queue=labels.get(LABEL_QUEUE),
    )


def gpus_of(resources: Json) -> int:
    """GPUs of any vendor in a container's limits; they are whole by Kubernetes' rules."""
    limits = resources.get("limits") or {}
    return sum(int(count) for name, count in limits.items() if name.endswith("/gpu") and str(count).isdigit())


def read_pod(obj: Json) -> PodView:
    """A pod of an Indexed Job."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    containers = {c["name"]: c for c in status.get("containerStatuses") or ()}
    container = containers.get(CONTAINER) or {}
    state = container.get("state") or {}
    ended = state.get("terminated")
    scheduled = conditions.get("PodScheduled") or {}
    is_unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    digest = IMAGE_DIGEST.search(container.get("imageID") or "")
    text = ((ended or {}).get("message") or "").strip()
    return PodView(
        name=metadata["name"],
        index=int((metadata.get("annotations") or {}).get(ANNOTATION_COMPLETION_INDEX, 0)),
        phase=status.get("phase") or "Pending",
        disrupted=(conditions.get("DisruptionTarget") or {}).get("status") == "True",
        unschedulable=(scheduled.get("message") or "no node fits") if is_unschedulable else None,
        waiting=_waiting(status),
        exit_code=None if ended is None else int(ended["exitCode"]),
        ended=parse_time((ended or {}).get("finishedAt")),
        ended_reason=(ended or {}).get("reason") or status.get("reason"),
        said=read_message(text),
        last_words=text or status.get("message") or "",
        image_digest=digest.group(1) if digest else None,
        deleted=parse_time(metadata.get("deletionTimestamp")),
    )


def _waiting(status: Json) -> tuple[str, str] | None:
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "", "ContainerCreating", "PodInitializing"):
            return (waiting["reason"], waiting.get("message") or "")
    return None


def read_message(text: str) -> TerminationMessage | None:
    """A pod's termination message; None where it is missing, cut, or a log's tail that Kubernetes put in its place."""
    try:
        return TerminationMessage.model_validate_json(text)
    except ValidationError:
        return None
