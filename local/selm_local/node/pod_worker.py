"""Drives one pod from its binding to its removal: one task a pod, level-triggered.

Every pass looks at the pod's object and at its runs on disk, does what is missing, and writes the status if it
changed. So it does not matter whether this or an earlier process of the daemon started a container.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from datetime import datetime, timedelta
from functools import partial

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
from selm_local.node.context import NodeContext
from selm_local.node.messages import MessageReader
from selm_local.node.preparation import NotYet, Preparation
from selm_local.node.probes import Probed, Probes
from selm_local.node.runs import PodFolder, Run
from selm_local.node.sources import ConfigError
from selm_local.node.spec import CreateError, build_run
from selm_local.node.status import ContainerView, Waiting, pod_status
from selm_local.node.volumes import VolumeError
from selm_local.node.watching import when_gone

STARTUP_LOOK = 0.03
"""Seconds between looks at a run that is being started; a supervisor needs about twice that."""
RETRY = timedelta(seconds=2)
CRASH_BACKOFF, CRASH_BACKOFF_LIMIT = timedelta(seconds=10), timedelta(seconds=300)
CRASH_RESET = timedelta(minutes=10)
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
        self._messages = MessageReader()
        self._probes = Probes(self._wake.set)
        self._spawned: dict[str, subprocess.Popen[bytes]] = {}
        self._watched: set[str] = set()
        self._stopping: dict[str, float] = {}
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
            await self._probes.close()
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
        if is_terminal(pod) and self._all_ended():
            await self._release(pod)
        elif is_deleting(pod):
            until = parse_time(meta(pod)["deletionTimestamp"])
            await self._end(pod, until, None)
        elif self.folder.shutdown.exists():
            await self._end(pod, self._context.clock(), SHUTDOWN)
        elif (deadline := self._past_deadline(pod)) is not None:
            grace = timedelta(seconds=float(pod["spec"].get("terminationGracePeriodSeconds", 30)))
            await self._end(pod, deadline + grace, DEADLINE)
        elif is_terminal(pod):
            # Somebody else failed it: nothing is started again, what runs is ended.
            grace = timedelta(seconds=float(pod["spec"].get("terminationGracePeriodSeconds", 30)))
            await self._end(pod, self._context.clock() + grace, None)
        else:
            await self._advance(pod)

    async def _advance(self, pod: Obj) -> None:
        """Start what is to be started and write down how far it is."""
        init = [self._view(one) for one in pod["spec"].get("initContainers") or []]
        main = [self._view(one) for one in pod["spec"]["containers"]]
        try:
            hindrance = await self._preparation.prepare(pod)
        except NotYet as error:
            hindrance = error.waiting
            self._again(RETRY.total_seconds())
        renewal = self._preparation.renew_tokens()
        if renewal is not None:
            self._again(renewal)
        if hindrance is not None:
            init = [self._held_back(view, hindrance) for view in init]
            main = [self._held_back(view, hindrance) for view in main]
        else:
            for position, view in enumerate(init):
                if view.succeeded:
                    continue
                policy = "Never" if pod["spec"].get("restartPolicy") == "Never" else "OnFailure"
                init[position] = self._drive(pod, view, policy)
                later = Waiting("PodInitializing")
                init[position + 1 :] = [self._held_back(one, later) for one in init[position + 1 :]]
                main = [self._held_back(one, later) for one in main]
                break
            else:
                policy = pod["spec"].get("restartPolicy", "Always")
                main = [self._drive(pod, view, policy) for view in main]
        await self._write(pod, pod_status(pod, init, main, self._context.clock()))

    async def _end(self, pod: Obj, until: datetime, verdict: tuple[str, str] | None) -> None:
        """Stop the pod's runs, and once none is left, write the last status and let the object go."""
        grace = max((until - self._context.clock()).total_seconds(), 0.0)
        for run in self.folder.runs():
            self._stop(run, grace)
        init = [self._view(one) for one in pod["spec"].get("initContainers") or []]
        main = [self._view(one) for one in pod["spec"]["containers"]]
        over = self._all_ended()
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

    # --- containers

    def _view(self, container: Obj) -> ContainerView:
        last = self.folder.last_run(container["name"])
        if last is None:
            return ContainerView(container)
        number, run = last
        state = run.state()
        started = ready = True
        if state.phase == "running":
            self._watch(run)
            verdicts = self._probes.verdicts(Probed(container, run, self._tell, partial(self._stop_unwell, run)))
            started, ready = verdicts.started, verdicts.ready
        else:
            self._probes.forget(run.key)
        previous = self.folder.run(container["name"], number - 1) if number else None
        return ContainerView(
            container,
            restarts=number,
            state=state,
            message=self._messages.read(run, state, container),
            previous=previous.state() if previous else None,
            previous_message=self._messages.read(previous, previous.state(), container) if previous else None,
            started=started,
            ready=ready,
        )

    async def _tell(self, type_: str, reason: str, message: str) -> None:
        if self._pod is not None:
            await self._context.events.record(self._pod, type_, reason, message)

    def _stop_unwell(self, run: Run, grace: float | None) -> None:
        """End a run whose probe failed; what follows is its restart policy's business."""
        if grace is None and self._pod is not None:
            grace = float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))
        self._stop(run, grace or 0.0)
        self._wake.set()

    def _drive(self, pod: Obj, view: ContainerView, policy: str) -> ContainerView:
        """Bring one container forward; returns how it stands afterwards."""
        phase = view.state.phase
        if phase == "absent":
            return self._start(pod, view, 0)
        if phase == "prepared":
            return self._starting(view)
        if phase == "running":
            return view
        again = policy == "Always" or (policy == "OnFailure" and view.state.exit_code != 0)
        if not again:
            return view
        delay = crash_backoff(view, self._context.clock())
        if delay > timedelta(0):
            self._again(delay.total_seconds())
            text = f"back-off restarting failed container={view.name} pod={self._label}"
            return self._held_back(view, Waiting("CrashLoopBackOff", text))
        return self._start(pod, view, view.restarts + 1)

    def _start(self, pod: Obj, view: ContainerView, number: int) -> ContainerView:
        run = self.folder.run(view.name, number)
        try:
            spec = build_run(pod, view.spec, run, self._preparation.surroundings)
        except (ConfigError, VolumeError) as error:
            self._preparation.expire()  # what is missing may be there at the next pass
            self._again(RETRY.total_seconds())
            return self._held_back(view, Waiting("CreateContainerConfigError", str(error)))
        except CreateError as error:
            return self._held_back(view, Waiting("CreateContainerError", str(error)))
        run.folder.mkdir(parents=True, exist_ok=True)
        run.termination_log.touch()
        run.prepare(spec)
        return self._starting(self._view(view.spec))

    def _starting(self, view: ContainerView) -> ContainerView:
        """A run that is prepared: spawn its supervisor unless that is under way."""
        run = self.folder.run(view.name, view.restarts)
        process = self._spawned.get(run.key)
        if process is None:
            if not run.supervised():
                self._spawned[run.key] = run.spawn()
        elif process.poll() is not None and run.state().phase == "prepared":
            log = (run.folder / "supervisor.log").read_text(encoding="utf-8", errors="replace")
            run.fail_to_start(f"the container's supervisor ended with {process.returncode}: {log[-1000:].strip()}")
        self._again(STARTUP_LOOK)
        return self._held_back(self._view(view.spec), Waiting("ContainerCreating"))

    def _stop(self, run: Run, grace: float) -> None:
        state = run.state()
        if state.phase == "prepared" and not run.cancel():
            self._again(STARTUP_LOOK)  # it is starting this moment: stopped as soon as it can be told
        elif state.phase == "running":
            self._watch(run)
            deadline = time.monotonic() + grace
            # Told once for each deadline; one that a later deletion brought nearer is told again.
            if deadline < self._stopping.get(run.key, float("inf")) - 0.5:
                self._stopping[run.key] = deadline
                run.stop(grace)
            self._again(max(grace, 0.2))

    def _watch(self, run: Run) -> None:
        """Wake this worker when the run's supervisor is gone."""
        if run.key in self._watched:
            return
        supervisor = run.supervisor()
        if supervisor is None:
            self._again(STARTUP_LOOK)
            return
        self._watched.add(run.key)
        when_gone(supervisor, lambda: self._gone(run))

    def _gone(self, run: Run) -> None:
        process = self._spawned.pop(run.key, None)
        if process is not None:
            process.poll()  # a child of this process: its zombie is collected
        self._wake.set()

    def _all_ended(self) -> bool:
        return all(run.state().phase in ("absent", "exited") for run in self.folder.runs())

    @staticmethod
    def _held_back(view: ContainerView, waiting: Waiting) -> ContainerView:
        if view.state.phase in ("running", "exited") and waiting.reason in ("PodInitializing", "ContainerCreating"):
            return view
        return ContainerView(
            view.spec, view.restarts, view.state, view.message, view.previous, view.previous_message, waiting
        )

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


def crash_backoff(view: ContainerView, now: datetime) -> timedelta:
    """How long until an ended container is started again: at once, then 10 s, 20 s … at most 300 s."""
    if view.restarts == 0 or view.state.finished_at is None or view.state.started_at is None:
        return timedelta(0)
    finished = parse_time(view.state.finished_at)
    if finished - parse_time(view.state.started_at) >= CRASH_RESET:
        return timedelta(0)
    delay = min(CRASH_BACKOFF * (1 << min(view.restarts - 1, 5)), CRASH_BACKOFF_LIMIT)
    return max(delay - (now - finished), timedelta(0))
