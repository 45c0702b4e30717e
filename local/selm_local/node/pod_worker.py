"""Drives one pod from its binding to its removal: one task a pod, level-triggered.

Every pass looks at the pod's object and at its runs on disk, does what is missing, and writes the status if it
changed. So it does not matter whether this or an earlier process of the daemon started a container.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime, timedelta

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.resources import PODS
from selm_local.controllers.objects import (
    Obj,
    is_deleting,
    is_terminal,
    meta,
    name_of,
    namespace_of,
    parse_time,
    uid_of,
)
from selm_local.node.containers import RETRY, STARTUP_LOOK, Containers, grace_of, held_back
from selm_local.node.context import NodeContext
from selm_local.node.preparation import NotYet, Preparation
from selm_local.node.runs import PodFolder
from selm_local.node.status import Waiting, pod_status

DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
SHUTDOWN = ("Terminated", "Pod was terminated in response to imminent node shutdown.")
_log = logging.getLogger(__name__)


class PodWorker:
    """One pod of this node."""

    def __init__(self, context: NodeContext, pod: Obj) -> None:
        self._context = context
        self._pod: Obj | None = pod
        self._wake = asyncio.Event()
        self._wake.set()
        self.folder = PodFolder(context.state.pods / uid_of(pod))
        self._label = f"{namespace_of(pod)}/{name_of(pod)}"
        self._namespace = namespace_of(pod)
        self._preparation = Preparation(context, self.folder, pod)
        self._containers = Containers(
            pod,
            self.folder,
            self._preparation,
            clock=context.clock,
            tell=self._tell,
            wake=self._wake.set,
            again=self._again,
        )
        self._delay: float | None = None
        self._cleaned = False

    def update(self, pod: Obj | None) -> None:
        """The pod's newest object; None: it is gone from the API."""
        self._pod = pod
        self._wake.set()

    async def run(self) -> None:
        """Work until the pod is gone and nothing of it is left."""
        try:
            await self._work()
        finally:
            await self._containers.close()
        await asyncio.to_thread(self._remove)

    async def _work(self) -> None:
        failures = 0
        while self._pod is not None:
            self._wake.clear()
            self._delay = None
            try:
                await self._pass(self._pod)
                failures = 0
            except Exception:  # noqa: BLE001 - the pod must not be forgotten: it is looked at again
                _log.exception("pod %s", self._label)
                failures += 1
                self._again(min(0.5 * 2**failures, 30.0))
            try:
                async with asyncio.timeout(self._delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def refresh_hosts(self) -> None:
        """Let the pod see the names that resolve now."""
        self._preparation.refresh_hosts()

    # --- one pass

    async def _pass(self, pod: Obj) -> None:
        if is_terminal(pod) and self._containers.all_ended():
            await self._release(pod)
        elif is_deleting(pod):
            until = parse_time(meta(pod)["deletionTimestamp"])
            await self._end(pod, until, None)
        elif self.folder.shutdown.exists():
            await self._end(pod, self._context.clock(), SHUTDOWN)
        elif (deadline := self._past_deadline(pod)) is not None:
            grace = timedelta(seconds=grace_of(pod))
            await self._end(pod, deadline + grace, DEADLINE)
        elif is_terminal(pod):
            # Somebody else failed it: nothing is started again, what runs is ended.
            grace = timedelta(seconds=grace_of(pod))
            await self._end(pod, self._context.clock() + grace, None)
        else:
            await self._advance(pod)

    async def _advance(self, pod: Obj) -> None:
        """Start what is to be started and write down how far it is."""
        init = [self._containers.view(one) for one in pod["spec"].get("initContainers") or []]
        main = [self._containers.view(one) for one in pod["spec"]["containers"]]
        try:
            hindrance = await self._preparation.prepare(pod)
        except NotYet as error:
            hindrance = error.waiting
            self._again(RETRY.total_seconds())
        renewal = self._preparation.renew_tokens()
        if renewal is not None:
            self._again(renewal)
        if hindrance is not None:
            init = [held_back(view, hindrance) for view in init]
            main = [held_back(view, hindrance) for view in main]
        else:
            for position, view in enumerate(init):
                if view.succeeded:
                    continue
                policy = "Never" if pod["spec"].get("restartPolicy") == "Never" else "OnFailure"
                init[position] = self._containers.drive(pod, view, policy)
                later = Waiting("PodInitializing")
                init[position + 1 :] = [held_back(one, later) for one in init[position + 1 :]]
                main = [held_back(one, later) for one in main]
                break
            else:
                policy = pod["spec"].get("restartPolicy", "Always")
                main = [self._containers.drive(pod, view, policy) for view in main]
        await self._write(pod, pod_status(pod, init, main, self._context.clock()))

    async def _end(self, pod: Obj, until: datetime, verdict: tuple[str, str] | None) -> None:
        """Stop the pod's runs, and once none is left, write the last status and let the object go."""
        grace = max((until - self._context.clock()).total_seconds(), 0.0)
        for run in self.folder.runs():
            self._containers.stop(run, grace)
        init = [self._containers.view(one) for one in pod["spec"].get("initContainers") or []]
        main = [self._containers.view(one) for one in pod["spec"]["containers"]]
        over = self._containers.all_ended()
        status = pod_status(pod, init, main, self._context.clock(), ending=True, verdict=verdict if over else None)
        await self._write(pod, status)
        if over:
            await self._release(pod)

    async def _release(self, pod: Obj) -> None:
        """Free what an ended pod holds; remove the object of one that is being deleted."""
        if not self._cleaned:
            await asyncio.to_thread(self._preparation.release)
            self._cleaned = True
        if (is_deleting(pod) and int(meta(pod).get("deletionGracePeriodSeconds") or 0) > 0) or (
            is_deleting(pod) and not meta(pod).get("finalizers")
        ):
            try:
                await self._context.registry.delete(
                    PODS, self._namespace, name_of(pod), grace_seconds=0, uid=uid_of(pod)
                )
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    def _past_deadline(self, pod: Obj) -> datetime | None:
        """The moment of the pod's own deadline, where it has passed."""
        seconds, started = pod["spec"].get("activeDeadlineSeconds"), (pod.get("status") or {}).get("startTime")
        if seconds is None or started is None:
            return None
        moment = parse_time(started) + timedelta(seconds=int(seconds))
        left = (moment - self._context.clock()).total_seconds()
        if left <= 0:
            return moment
        self._again(left)
        return None

    # --- effects

    async def _tell(self, type_: str, reason: str, message: str) -> None:
        if self._pod is not None:
            await self._context.events.record(self._pod, type_, reason, message)

    async def _write(self, pod: Obj, status: Obj) -> None:
        if status == pod.get("status"):
            return
        try:
            written = await self._context.registry.patch(
                PODS, self._namespace, name_of(pod), {"status": status}, subresource="status"
            )
        except ApiError as error:
            if error.code == 404:
                return  # the watch will say so
            raise
        # Unless the object changed meanwhile, what was written is the newest.
        if self._pod is pod:
            self._pod = written
        pod["status"] = status

    def _again(self, seconds: float) -> None:
        self._delay = seconds if self._delay is None else min(self._delay, seconds)

    def _remove(self) -> None:
        """End and remove whatever is left of a pod that is gone from the API."""
        self.folder.kill(lambda: time.sleep(STARTUP_LOOK))
        self._preparation.release()
        self.folder.remove()
