"""Reads what one pass decides by. The run first, its Jobs after it: so no Job of a status that was read can be missed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from selm_operator.constants import LABEL_JOB_NAME, LABEL_RUN_UID
from selm_operator.decide.case import Case
from selm_operator.decide.children import expiry
from selm_operator.decide.control import control_due
from selm_operator.decide.progress import wants_pods
from selm_operator.jobs import Jobs
from selm_operator.kube import EVENTS, JOBS, PODS, RUNS, SERVICES, Api, ApiError, Json, owner_uid
from selm_operator.manifests.names import control_name, service_name
from selm_operator.settings import Settings
from selm_operator.snapshot import ControlView, JobView, RunView, ServiceView, Snapshot, read_job, read_pod, read_run
from selm_runtime.contract import Phase


async def observe(
    api: Api, jobs_of: Jobs, namespace: str, name: str, settings: Settings, now: datetime | None = None
) -> tuple[Json, Snapshot] | None:
    """The run as the API server has it, and the snapshot made of it; None where there is no such run.

    Raises ApiError, aiohttp's errors, TimeoutError.
    """
    try:
        obj = await api.get(RUNS, namespace, name)
    except ApiError as error:
        if error.code == 404:
            return None
        raise
    run = read_run(obj)
    jobs = await jobs_of.of_run(run)
    snapshot = Snapshot(run, jobs, now or datetime.now(UTC), settings)
    case = Case(snapshot, run.status)
    if run.deleting or run.spec is None:
        return obj, snapshot
    if (missing := _unseen_job(case)) is not None:
        job = await _job(api, run, missing)
        if job is not None:
            # The list was older than the status: somebody else is at work on this run, or a cache answered.
            snapshot = replace(snapshot, jobs=(*jobs, job))
        else:
            listed = await api.list(PODS, namespace, labels=f"{LABEL_JOB_NAME}={missing},{LABEL_RUN_UID}={run.uid}")
            left = tuple(read_pod(pod) for pod in listed.get("items") or ())
            snapshot = replace(snapshot, pods=left, pods_of=missing)
        case = Case(snapshot, run.status)
    if case.job is not None and wants_pods(case):
        # A pod that is not made leaves no trace but the Job's events.
        listed = await api.list(PODS, namespace, labels=f"{LABEL_JOB_NAME}={case.job.name}")
        mine = tuple(read_pod(pod) for pod in listed.get("items") or () if owner_uid(pod) == case.job.uid)
        lacking = case.is_active(case.job) and case.job.suspended is None and len(mine) < case.job.pods
        not_made = await _why_not_made(api, run, case.job) if lacking else None
        snapshot = replace(snapshot, pods=mine, pods_of=case.job.name, not_made=not_made)
    if case.position is not None and case.position[1] is Phase.TRAINING and not _is_at_work(case):
        snapshot = replace(snapshot, service=await _service(api, run))
    if control_due(run.spec, run.status):
        snapshot = replace(snapshot, control=await _control(api, run))
    due = expiry(run.spec, run.status)
    if due is not None and due <= snapshot.now:
        everything = await jobs_of.of_run(run, everything=True)
        snapshot = replace(snapshot, jobs=everything, service=await _service(api, run))
    return obj, snapshot


def _unseen_job(case: Case) -> str | None:
    """The Job that the status tells of and the list does not, before it is taken for gone."""
    current = case.current
    if current is None or case.job is not None or case.accounted or case.committed:
        return None
    return current.job_name


async def _job(api: Api, run: RunView, name: str) -> JobView | None:
    try:
        job = await api.get(JOBS, run.namespace, name)
    except ApiError as error:
        if error.code == 404:
            return None
        raise
    return read_job(job) if owner_uid(job) == run.uid else None


async def _why_not_made(api: Api, run: RunView, job: JobView) -> str | None:
    """What the Job controller was told last when it could not make a pod."""
    listed = await api.list(EVENTS, run.namespace, fields=f"regarding.uid={job.uid},reason=FailedCreate")
    events = sorted(listed.get("items") or (), key=_last_seen)
    return str(events[-1].get("note") or "") or None if events else None


def _last_seen(event: Json) -> str:
    """The time of an event's last occurrence; times of one form compare as text, and a second is exact enough."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, times), event["metadata"].get("creationTimestamp") or ""))[:19]


def _is_at_work(case: Case) -> bool:
    return case.job is not None and case.is_active(case.job)


async def _control(api: Api, run: RunView) -> ControlView:
    """One request a pass, until the control run is in the book."""
    try:
        found = await api.get(RUNS, run.namespace, control_name(run.name))
    except ApiError as error:
        if error.code == 404:
            return ControlView()
        raise
    metadata = found["metadata"]
    owners = ", ".join(f"{o['kind']} {o['name']} ({o['uid']})" for o in metadata.get("ownerReferences") or ())
    ours = owner_uid(found) == run.uid and "deletionTimestamp" not in metadata
    return ControlView(uid=metadata["uid"], ours=ours, owners=owners)


async def _service(api: Api, run: RunView) -> ServiceView | None:
    name = service_name(run.name)
    try:
        service = await api.get(SERVICES, run.namespace, name)
    except ApiError as error:
        if error.code == 404:
            return None
        raise
    return ServiceView(name, ours=owner_uid(service) == run.uid, uid=service["metadata"]["uid"])
