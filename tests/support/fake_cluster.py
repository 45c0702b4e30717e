"""A small Kubernetes in memory: the part of the API that the operator uses, and a Job controller with fates to choose.

It keeps to what was measured on a real API server: creating an existing name is 409 AlreadyExists, also while the
object is being deleted; a PUT with an old resourceVersion is 409 Conflict; a deletion with another uid is 409; a Job
deleted in the foreground stays, with its deletionTimestamp, until its pods are gone.
"""

from __future__ import annotations

import copy
import json
import re
import types
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from selm_operator.kube import JOBS, PODS, RUNS, ApiError, Json, Resource

Jsons = list[Json]
"""Named here, for in the class below `list` is a request."""
NAMESPACE = "default"
START = datetime(2026, 1, 1, tzinfo=UTC)


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Gives whoever drives the coroutine the hand: to go on, to let another one go first, or to end it here."""
    yield


def stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def digest(text: str) -> str:
    """A manifest digest that tells tests apart what made it."""
    import hashlib

    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass
class FakeCluster:
    """Implements `selm_operator.kube.Api`. `fault` is called before ("before") and after ("after") each request."""

    now: datetime = START
    objects: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    version: int = 0
    uids: int = 0
    fault: Callable[[str, str, Resource, str], None] = lambda when, verb, resource, name: None
    log: list[tuple[str, str, str]] = field(default_factory=list)
    prune: Callable[[Json], None] = lambda status: None
    on_status: Callable[[Json, Json], None] = lambda before, after: None
    on_create: Callable[[Json], None] = lambda obj: None
    at: tuple[str, str, str] = ("", "", "")
    """Where the request at work was stopped last."""
    interleaved: bool = False
    """Whether every request can be stopped before it arrives and after it was answered; see `pause`."""

    async def reach(self, when: str, verb: str, resource: Resource, name: str) -> None:
        if self.interleaved:
            self.at = (when, verb, resource.plural)
            await pause()
        self.fault(when, verb, resource, name)

    # ---- the API -------------------------------------------------------------------------------------------------
    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        await self.reach("before", "get", resource, name)
        return copy.deepcopy(self._found(resource, namespace, name))

    async def list(self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "") -> Json:
        await self.reach("before", "list", resource, "")
        items = [
            copy.deepcopy(obj)
            for (plural, ns, _), obj in sorted(self.objects.items())
            if plural == resource.plural
            and namespace in (None, ns)
            and selects(labels, obj)
            and has_fields(fields, obj)
        ]
        return {"items": items, "metadata": {"resourceVersion": str(self.version)}}

    async def create(self, resource: Resource, namespace: str, obj: Json) -> Json:
        name = obj["metadata"]["name"]
        await self.reach("before", "create", resource, name)
        if (resource.plural, namespace, name) in self.objects:
            raise ApiError(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        stored = self.store(resource, namespace, obj)
        self.log.append(("create", resource.plural, name))
        self.on_create(stored)
        answer = copy.deepcopy(stored)  # what was written, whatever others write before it arrives
        await self.reach("after", "create", resource, name)
        return answer

    async def replace(self, resource: Resource, namespace: str, obj: Json, *, subresource: str | None = None) -> Json:
        name = obj["metadata"]["name"]
        await self.reach("before", "replace", resource, name)
        stored = self._found(resource, namespace, name)
        if obj["metadata"].get("resourceVersion") not in (None, "", stored["metadata"]["resourceVersion"]):
            raise ApiError(409, "Conflict", f"the object {name} has been modified")
        before = copy.deepcopy(stored)
        if subresource == "status":
            if resource == RUNS:
                self.on_status(before, obj)
            stored["status"] = copy.deepcopy(obj.get("status") or {})
            self.prune(stored["status"])
        else:
            metadata = {**obj["metadata"], "uid": stored["metadata"]["uid"]}
            stored.update(copy.deepcopy(obj), metadata=metadata)
        self._touch(stored)
        self.log.append(("replace" if subresource is None else subresource, resource.plural, name))
        answer = copy.deepcopy(stored)
        await self.reach("after", "replace", resource, name)
        return answer

    async def apply(self, resource: Resource, namespace: str, obj: Json) -> Json:
        name = obj["metadata"]["name"]
        await self.reach("before", "apply", resource, name)
        stored = self.objects.get((resource.plural, namespace, name))
        if stored is None:
            stored = self.store(resource, namespace, obj)
        else:
            stored["spec"] = copy.deepcopy(obj["spec"])
            self._touch(stored)
        self.log.append(("apply", resource.plural, name))
        answer = copy.deepcopy(stored)
        await self.reach("after", "apply", resource, name)
        return answer

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str) -> None:
        await self.reach("before", "delete", resource, name)
        stored = self._found(resource, namespace, name)
        if stored["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the uid in the precondition does not match")
        if propagation == "Foreground" and resource == JOBS:
            stored["metadata"].setdefault("deletionTimestamp", stamp(self.now))
            stored["metadata"]["finalizers"] = ["foregroundDeletion"]
            self._touch(stored)
        else:
            self.remove(resource, namespace, name)
        self.log.append(("delete", resource.plural, name))
        await self.reach("after", "delete", resource, name)

    # ---- what tests do beside the operator -----------------------------------------------------------------------
    def store(self, resource: Resource, namespace: str, obj: Json) -> Json:
        stored = copy.deepcopy(obj)
        self.uids += 1
        stored["metadata"] |= {
            "namespace": namespace,
            "uid": obj["metadata"].get("uid") or f"uid-{self.uids}",
            "creationTimestamp": stamp(self.now),
            "generation": 1,
        }
        self.objects[(resource.plural, namespace, obj["metadata"]["name"])] = stored
        self._touch(stored)
        return stored

    def orphan(self, resource: Resource, namespace: str, name: str) -> None:
        """The object alone, as a deletion in the background takes it first."""
        del self.objects[(resource.plural, namespace, name)]

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """The object and everything that it controls."""
        gone = self.objects.pop((resource.plural, namespace, name), None)
        if gone is None:
            return
        for (plural, ns, child), obj in list(self.objects.items()):
            owners = {reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()}
            if gone["metadata"]["uid"] in owners:
                self.remove(Resource("", "v1", plural), ns, child)

    def change_spec(self, name: str, **changes: Any) -> None:
        """A user's edit of a run."""
        run = self.objects[("selmruns", NAMESPACE, name)]
        run["spec"] |= changes
        run["metadata"]["generation"] += 1
        self._touch(run)

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def run(self, name: str) -> Json:
        return self.objects[("selmruns", NAMESPACE, name)]

    def jobs(self) -> Jsons:
        return [obj for (plural, _, _), obj in sorted(self.objects.items()) if plural == "jobs"]

    def job(self, name: str) -> Json:
        return self.objects[("jobs", NAMESPACE, name)]

    # ---- the Job controller --------------------------------------------------------------------------------------
    def end_job(self, name: str, exits: Mapping[int, tuple[int, Any]], **how: Any) -> None:
        """Ends a Job: `exits` gives each index' exit code and termination message; see `condition_of` for the rest."""
        job = self.job(name)
        for index, (code, said) in exits.items():
            self.end_pod(job, index, code, said, disrupted=how.get("disrupted") == index)
        status = job.setdefault("status", {})
        status["startTime"] = job["metadata"]["creationTimestamp"]
        status["conditions"] = [condition_of(exits, job, self.now, **how)]
        if status["conditions"][0]["type"] == "Complete":
            status["completionTime"] = stamp(self.now)
        status["succeeded"] = sum(1 for code, _ in exits.values() if code == 0)
        self._touch(job)

    def end_pod(self, job: Json, index: int, code: int, said: Json | str | None, *, disrupted: bool = False) -> None:
        ended: Json = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        if code == 137:
            ended["reason"] = "OOMKilled"
        if said is not None:
            ended["message"] = said if isinstance(said, str) else json.dumps(said)
        status: Json = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [{"name": "phase", "state": {"terminated": ended}, "imageID": ""}],
        }
        if disrupted:
            status["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
        self.put_pod(job, index, status)

    def put_pod(self, job: Json, index: int, status: Json) -> None:
        """A pod of a Job in any state."""
        name = f"{job['metadata']['name']}-{index}-{self.uids:05d}"
        pod: Json = {
            "metadata": {
                "name": name,
                "labels": {
                    **(job["spec"]["template"]["metadata"].get("labels") or {}),
                    "batch.kubernetes.io/job-name": job["metadata"]["name"],
                },
                "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
                "ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}],
            },
            "status": status,
        }
        self.store(PODS, NAMESPACE, pod)

    def _found(self, resource: Resource, namespace: str, name: str) -> Json:
        try:
            return self.objects[(resource.plural, namespace, name)]
        except KeyError:
            raise ApiError(404, "NotFound", f'{resource.plural} "{name}" not found') from None

    def _touch(self, obj: Json) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)


def selects(labels: str, obj: Json) -> bool:
    """Equality, membership and existence: the selectors that the operator uses."""
    have = obj["metadata"].get("labels") or {}
    for term in filter(None, re.split(r",(?![^(]*\))", labels)):
        key, among, values = term.partition(" in ")
        if not among:
            key, among, values = term.partition("=")
        if key not in have or (among and have[key] not in values.strip("()").split(",")):
            return False
    return True


def has_fields(fields: str, obj: Json) -> bool:
    """Equality of fields by their paths, as in `involvedObject.uid=u,reason=FailedCreate`."""
    for term in filter(None, fields.split(",")):
        path, _, value = term.partition("=")
        found: Any = obj
        for step in path.split("."):
            found = (found or {}).get(step)
        if found != value:
            return False
    return True


def condition_of(
    exits: Mapping[int, tuple[int, Any]],
    job: Json,
    now: datetime,
    *,
    disrupted: int | None = None,
    target: bool = False,
) -> Json:
    """The condition that the Job controller would set; `target` stops at `FailureTarget`, as on a lost node."""
    bad = {index: code for index, (code, _) in exits.items() if code}
    if not bad:
        kind, reason, message = "Complete", "CompletionsReached", ""
    elif disrupted is not None:
        message = f"Pod default/{job['metadata']['name']}-{disrupted} has condition DisruptionTarget matching FailJob rule at index 0"
        kind, reason = "Failed", "PodFailurePolicy"
    elif 64 in bad.values():
        message = "Container phase for pod default/x failed with exit code 64 matching FailJob rule at index 1"
        kind, reason = "Failed", "PodFailurePolicy"
    elif "backoffLimitPerIndex" in job["spec"]:
        kind, reason, message = "Failed", "FailedIndexes", "Job has failed indexes"
    else:
        kind, reason, message = "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if kind == "Failed" and target:
        kind = "FailureTarget"
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": stamp(now)}
