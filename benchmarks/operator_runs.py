"""The runs of the operator's benchmark and what a cluster would do with them, without a process of its own.

Played are the Job controller (pods and status of a Job) and the node (a pod's status, its termination message as the
runtime writes it), in the steps in which the real ones write them; or the node alone, where a Job controller and a
scheduler are at work (`node_only`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks.operator_cluster import NETWORK_ERRORS, NODE, TAINT
from benchmarks.operator_pods import Json, is_complete, now, pod_of, running, succeeded
from selm_operator.constants import (
    API_VERSION,
    KIND,
    LABEL_RUN,
    LABEL_RUN_UID,
)
from selm_operator.kube import JOBS, LEASES, PODS, RUNS, SERVICES, ApiError, KubeClient, Resource

log = logging.getLogger(__name__)
WATCH_SECONDS = 300.0
NODE_LEASES = "kube-node-lease"
HEARTBEAT_SECONDS = 10.0
PHASES_OUTSIDE = 2
PHASES_OF_ITERATION = 4


def make_run(name: str, iterations: int, shards: int) -> Json:
    """A SELMRun as people write them: most of it left to the defaults."""
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    placement = {
        "phase": "All",
        "tolerations": [{"key": TAINT, "operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/hostname": NODE},
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {
            "iterations": iterations,
            "image": "registry.example/selm-runtime:1",
            "model": {"uri": "hf://example/sft"},
            "data": {"uri": "hf://example/preferences", "heldOut": {"split": "test", "limit": 500}},
            "generation": {"shards": shards, **gpu},
            "scoring": {
                "scorers": [{"name": "reward", "rewardModel": {"uri": "hf://example/reward"}}],
                "shards": shards,
            },
            "training": {"objective": {"alpha": 0.001, "beta": 0.01}, **gpu},
            "evaluation": gpu,
            "artifacts": {"uri": "s3://benchmark/selm", "credentialsSecretRef": {"name": "s3"}},
            "podTemplates": [placement],
        },
    }


def jobs_of_run(iterations: int) -> int:
    """Jobs that a run makes where nothing fails: preparation, the base's evaluation, four phases an iteration."""
    return PHASES_OUTSIDE + PHASES_OF_ITERATION * iterations


@dataclass
class RunRecord:
    """What was seen of one run."""

    writes: Counter[str] = field(default_factory=Counter)
    """Writes of the operator by kind, as they arrived in a watch."""
    ended_job: tuple[str, float] | None = None
    """The last Job that ended, and when (monotonic seconds)."""
    jobs: int = 0
    finished: bool = False
    succeeded: bool = False


@dataclass(frozen=True)
class Pace:
    """Seconds of the simulated Jobs. `fast` runs are `speed` times as fast, so that they are over while one measures."""

    phase: float
    start: float
    fast: frozenset[str]
    speed: float

    def duration(self, run: str, first: bool, chance: random.Random) -> float:
        """A Job's time at work. The first ones are spread, so that the runs do not go in step."""
        drawn = chance.uniform(0.0, 1.0) if first else chance.uniform(0.5, 1.5)
        return self.phase * drawn / (self.speed if run in self.fast else 1.0)

    def until_running(self, run: str) -> float:
        return self.start / (self.speed if run in self.fast else 1.0)


class Simulator:
    """Plays the cluster's part for all runs of a namespace, and keeps the record of what the operator did."""

    def __init__(self, client: KubeClient, namespace: str, pace: Pace, *, node_only: bool, seed: int = 1) -> None:
        self.client, self.namespace, self.pace, self.node_only = client, namespace, pace, node_only
        self.records: dict[str, RunRecord] = {}
        self.gaps: list[tuple[float, float]] = []
        """Of each Job that followed another: when the former ended (monotonic), and seconds until the latter was there."""
        self.requests = 0
        self.chance = random.Random(seed)
        self._seen: set[str] = set()
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Plays until cancelled, once. Raises an ExceptionGroup of what a part of it died of."""
        follows: list[tuple[Resource, str, Callable[[str, Json], None]]] = [
            (JOBS, LABEL_RUN_UID, self._job),
            (RUNS, "", self._run),
            (SERVICES, LABEL_RUN_UID, self._service),
        ]
        async with self._group as group:
            if self.node_only:
                follows.append((PODS, LABEL_RUN_UID, self._pod))
                group.create_task(self._keep_node_alive())
            for resource, labels, note in follows:
                group.create_task(self._follow(resource, labels, note))

    async def _follow(self, resource: Resource, labels: str, note: Callable[[str, Json], None]) -> None:
        async for kind, obj in watched(self.client, resource, self.namespace, labels):
            note(kind, obj)

    async def _keep_node_alive(self) -> None:
        """The node's heartbeat, without which its pods would be evicted."""
        while True:
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": NODE, "namespace": NODE_LEASES},
                "spec": {
                    "holderIdentity": NODE,
                    "leaseDurationSeconds": 40,
                    "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                },
            }
            await self.client.apply(LEASES, NODE_LEASES, lease)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def record(self, run: str) -> RunRecord:
        return self.records.setdefault(run, RunRecord())

    # --- what the operator does

    def _run(self, kind: str, obj: Json) -> None:
        record = self.record(obj["metadata"]["name"])
        if kind == "MODIFIED":
            record.writes["SELMRun"] += 1
        for condition in (obj.get("status") or {}).get("conditions") or ():
            if condition["type"] == "Succeeded" and condition["status"] != "Unknown":
                record.finished, record.succeeded = True, condition["status"] == "True"

    def _service(self, kind: str, obj: Json) -> None:
        if kind in ("ADDED", "MODIFIED"):
            self.record(obj["metadata"]["labels"][LABEL_RUN]).writes["Service"] += 1

    def _job(self, kind: str, obj: Json) -> None:
        uid, record = obj["metadata"]["uid"], self.record(obj["metadata"]["labels"][LABEL_RUN])
        if uid not in self._seen:
            self._seen.add(uid)
            record.writes["Job"] += 1
            record.jobs += 1
            if record.ended_job is not None and record.ended_job[0] != uid:
                ended = record.ended_job[1]
                self.gaps.append((ended, time.monotonic() - ended))
            if not self.node_only:
                self._group.create_task(self._play_job(obj))
        if self.node_only and kind == "MODIFIED" and is_complete(obj):
            self._ended(obj)

    def _ended(self, job: Json) -> None:
        record = self.record(job["metadata"]["labels"][LABEL_RUN])
        if record.ended_job is None or record.ended_job[0] != job["metadata"]["uid"]:
            record.ended_job = (job["metadata"]["uid"], time.monotonic())

    # --- what a cluster does

    async def _play_job(self, job: Json) -> None:
        """A Job's life in the steps of the Job controller: pods made, ready, ended, complete."""
        run, count = job["metadata"]["labels"][LABEL_RUN], int(job["spec"]["completions"])
        pods = [await self._create_pod(job, index) for index in range(count)]
        job = await self._job_status(job, {"startTime": now(), "active": count, "ready": 0})
        await asyncio.sleep(self.pace.until_running(run))
        pods = [await self._pod_status(pod, running(pod)) for pod in pods]
        job = await self._job_status(job, {**job["status"], "ready": count})
        await asyncio.sleep(self.pace.duration(run, self.record(run).jobs == 1, self.chance))
        for pod in pods:
            await self._pod_status(pod, succeeded(pod))
        time_ = now()
        conditions = [
            {"type": t, "status": "True", "lastProbeTime": time_, "lastTransitionTime": time_, "reason": "Completed"}
            for t in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"startTime": job["status"]["startTime"], "completionTime": time_, "conditions": conditions}
        indexes = "0" if count == 1 else f"0-{count - 1}"
        # Before it is sent: the operator may know of it before the answer is back.
        self._ended(job)
        await self._job_status(
            job, {**status, "succeeded": count, "completedIndexes": indexes, "active": 0, "ready": 0}
        )

    def _pod(self, kind: str, obj: Json) -> None:
        uid, at = obj["metadata"]["uid"], obj["spec"].get("nodeName")
        if kind in ("ADDED", "MODIFIED") and at == NODE and uid not in self._seen:
            self._seen.add(uid)
            self._group.create_task(self._play_pod(obj))

    async def _play_pod(self, pod: Json) -> None:
        """A pod's life where others make pods and bind them to the simulated node."""
        run = pod["metadata"]["labels"][LABEL_RUN]
        await asyncio.sleep(self.pace.until_running(run))
        pod = await self._pod_status(pod, running(pod))
        await asyncio.sleep(self.pace.duration(run, self.record(run).jobs == 1, self.chance))
        await self._pod_status(pod, succeeded(pod))

    async def _create_pod(self, job: Json, index: int) -> Json:
        pod = await self.client.create(PODS, self.namespace, pod_of(job, index))
        self.requests += 1
        return pod

    async def _job_status(self, job: Json, status: Json) -> Json:
        return await self._put_status(JOBS, job, status)

    async def _pod_status(self, pod: Json, status: Json) -> Json:
        return await self._put_status(PODS, pod, status)

    async def _put_status(self, resource: Resource, obj: Json, status: Json) -> Json:
        """Repeated with what is there now where another wrote first (a controller of the cluster)."""
        while True:
            self.requests += 1
            try:
                return await self.client.replace(
                    resource, self.namespace, {**obj, "status": status}, subresource="status"
                )
            except ApiError as error:
                if error.code != 409:
                    raise
            obj = await self.client.get(resource, self.namespace, obj["metadata"]["name"])


async def watched(
    client: KubeClient, resource: Resource, namespace: str, labels: str
) -> AsyncIterator[tuple[str, Json]]:
    """All objects as LISTED, then every change, for ever; a stream that breaks off is taken up where it ended."""
    version = ""
    while True:
        try:
            if not version:
                listed = await client.list(resource, namespace, labels=labels)
                for obj in listed.get("items") or ():
                    yield "LISTED", obj
                version = str(listed["metadata"]["resourceVersion"])
            events = client.watch(resource, namespace, labels=labels, version=version, seconds=WATCH_SECONDS)
            async for event in events:
                version = str(event["object"]["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
        except ApiError as error:
            if error.code != 410:
                raise
            # Events were missed: what was counted by then is too low. Said, so that nobody trusts the figures.
            log.error("the watch of %s fell behind; writes a run are counted too low", resource.plural)
            version = ""
        except NETWORK_ERRORS as error:
            log.warning("the watch of %s broke off: %r", resource.plural, error)
            await asyncio.sleep(0.5)
