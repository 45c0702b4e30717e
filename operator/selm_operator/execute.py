"""The effects. Each is idempotent by its name, its uid or its owner; the first that fails ends the pass.

Five effects exist and no more: POST a Job, delete a Job, apply a Service, delete a Service, POST the control run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from selm_operator.decision import Action, ApplyService, CreateJob, CreateRun, DeleteJob, DeleteService
from selm_operator.jobs import Jobs, ListedJobs
from selm_operator.kube import JOBS, RUNS, SERVICES, Api, ApiError, Resource, owner_uid
from selm_operator.metrics import API_WRITES

log = logging.getLogger(__name__)

REFUSALS = (400, 403, 422)
"""Answers to a POST that say: not like this. Repeating it at once changes nothing."""


class NotLeading(Exception):
    """The Lease is no longer held: nothing may be begun any more."""


class JobNameTaken(Exception):
    """A Job that is not ours, or that is being deleted, holds the name of the next one."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(f"the name of Job {job['metadata']['name']} is taken")
        self.job = job


class EffectRefused(Exception):
    """The API server refused the object itself: a quota, an admission rule, an invalid template."""

    def __init__(self, what: str, error: ApiError) -> None:
        super().__init__(f"{what} was refused: {error}")
        self.what, self.error = what, error


class ControlRefused(Exception):
    """The API server refused the control run. All other effects of the pass were done."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(f"the control run was refused: {error}")
        self.error = error


class Executor:
    """Carries out a decision's actions for one run. `leading` is asked before each of them."""

    def __init__(self, api: Api, leading: Callable[[], bool] = lambda: True, jobs: Jobs | None = None) -> None:
        self.api, self.leading, self.jobs = api, leading, jobs or ListedJobs(api)

    async def execute(self, namespace: str, actions: tuple[Action, ...]) -> None:
        """Raises NotLeading, JobNameTaken, EffectRefused, ApiError, or aiohttp's errors, at the first that fails; and
        ControlRefused after the last, for nothing else waits for the control run."""
        refused: ControlRefused | None = None
        for action in actions:
            if not self.leading():
                raise NotLeading
            match action:
                case CreateJob():
                    await self.create_job(namespace, action)
                case CreateRun():
                    try:
                        await self.create_run(namespace, action)
                    except ControlRefused as error:
                        refused = error
                case DeleteJob():
                    await self.delete(JOBS, namespace, "Job", action)
                case ApplyService():
                    await self.apply_service(namespace, action)
                case DeleteService():
                    await self.delete(SERVICES, namespace, "Service", action)
        if refused is not None:
            raise refused

    async def create_job(self, namespace: str, action: CreateJob) -> None:
        name = action.manifest["metadata"]["name"]
        API_WRITES.labels("Job").inc()
        self.jobs.making(action.manifest)
        try:
            self.jobs.made(await self.api.create(JOBS, namespace, action.manifest))
        except ApiError as error:
            if error.code == 409 and error.reason == "AlreadyExists":
                await self.accept_existing(namespace, action)
                return
            if error.code in REFUSALS:
                raise EffectRefused(f"Job {name}", error) from error
            raise
        log.info("created Job %s/%s", namespace, name)

    async def accept_existing(self, namespace: str, action: CreateJob) -> None:
        """The 409: a Job of the same owner that is not being deleted is the one that was to be made.

        Its template is not compared: an operator of another version changes nothing in flight. Raises JobNameTaken
        for any other Job, ApiError 404 where it vanished meanwhile (the next pass makes it).
        """
        job = await self.api.get(JOBS, namespace, action.manifest["metadata"]["name"])
        if owner_uid(job) != owner_uid(action.manifest) or job["metadata"].get("deletionTimestamp"):
            raise JobNameTaken(job)
        self.jobs.made(job)

    async def create_run(self, namespace: str, action: CreateRun) -> None:
        """A name that is taken meanwhile is no error: the next pass reads whose it is. Raises ControlRefused, ApiError."""
        name = action.manifest["metadata"]["name"]
        API_WRITES.labels("SELMRun").inc()
        try:
            await self.api.create(RUNS, namespace, action.manifest)
        except ApiError as error:
            if error.code == 409 and error.reason == "AlreadyExists":
                return
            if error.code in REFUSALS:
                raise ControlRefused(error) from error
            raise
        log.info("created SELMRun %s/%s", namespace, name)

    async def delete(self, resource: Resource, namespace: str, kind: str, action: DeleteJob | DeleteService) -> None:
        API_WRITES.labels(kind).inc()
        try:
            await self.api.delete(resource, namespace, action.name, uid=action.uid, propagation="Foreground")
        except ApiError as error:
            # Gone, or another object has the name by now: what was to be deleted is no more.
            if error.code not in (404, 409):
                raise
        log.info("deleted %s %s/%s", kind, namespace, action.name)

    async def apply_service(self, namespace: str, action: ApplyService) -> None:
        API_WRITES.labels("Service").inc()
        name = action.manifest["metadata"]["name"]
        try:
            await self.api.apply(SERVICES, namespace, action.manifest)
        except ApiError as error:
            if error.code in REFUSALS:
                raise EffectRefused(f"Service {name}", error) from error
            raise
