"""The containers of one pod: how each stands, started, started again, and stopped.

A container's runs lie in its pod's folder, and whoever looks finds there what an earlier process of the daemon began.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from selm_local.controllers.objects import Obj, name_of, namespace_of, parse_time
from selm_local.node.messages import MessageReader
from selm_local.node.preparation import Preparation
from selm_local.node.probes import Probed, Probes, Tell
from selm_local.node.runs import PodFolder, Run
from selm_local.node.sources import ConfigError
from selm_local.node.spec import CreateError, build_run
from selm_local.node.status import ContainerView, Waiting
from selm_local.node.volumes import VolumeError
from selm_local.node.watching import when_gone

STARTUP_LOOK = 0.03
"""Seconds between looks at a run that is being started; a supervisor needs about twice that."""
RETRY = timedelta(seconds=2)
"""Until what a container lacks (a Secret, a volume) is looked for again."""
CRASH_BACKOFF, CRASH_BACKOFF_LIMIT = timedelta(seconds=10), timedelta(seconds=300)
CRASH_RESET = timedelta(minutes=10)


class Containers:
    """The containers of one pod.

    clock: the time now. tell: records an event about the pod. wake: has the pod looked at now. again: has it looked at
    in so many seconds.
    """

    def __init__(
        self,
        pod: Obj,
        folder: PodFolder,
        preparation: Preparation,
        *,
        clock: Callable[[], datetime],
        tell: Tell,
        wake: Callable[[], None],
        again: Callable[[float], None],
    ) -> None:
        self._label = f"{namespace_of(pod)}/{name_of(pod)}"
        self._grace = grace_of(pod)
        self._folder = folder
        self._preparation = preparation
        self._clock, self._tell, self._wake, self._again = clock, tell, wake, again
        self._messages = MessageReader()
        self._probes = Probes(wake)
        self._spawned: dict[str, subprocess.Popen[bytes]] = {}
        self._watched: set[str] = set()
        self._stopping: dict[str, float] = {}

    async def close(self) -> None:
        """Ends the probes; the runs go on."""
        await self._probes.close()

    def view(self, container: Obj) -> ContainerView:
        """How a container stands: its last run, what that one said, and its probes' verdicts."""
        last = self._folder.last_run(container["name"])
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
        previous = self._folder.run(container["name"], number - 1) if number else None
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

    def _stop_unwell(self, run: Run, grace: float | None) -> None:
        """End a run whose probe failed; what follows is its restart policy's business."""
        self.stop(run, self._grace if grace is None else grace)
        self._wake()

    def drive(self, pod: Obj, view: ContainerView, policy: str) -> ContainerView:
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
        delay = crash_backoff(view, self._clock())
        if delay > timedelta(0):
            self._again(delay.total_seconds())
            text = f"back-off restarting failed container={view.name} pod={self._label}"
            return held_back(view, Waiting("CrashLoopBackOff", text))
        return self._start(pod, view, view.restarts + 1)

    def _start(self, pod: Obj, view: ContainerView, number: int) -> ContainerView:
        run = self._folder.run(view.name, number)
        try:
            spec = build_run(pod, view.spec, run, self._preparation.surroundings)
        except (ConfigError, VolumeError) as error:
            self._preparation.expire()  # what is missing may be there at the next pass
            self._again(RETRY.total_seconds())
            return held_back(view, Waiting("CreateContainerConfigError", str(error)))
        except CreateError as error:
            return held_back(view, Waiting("CreateContainerError", str(error)))
        run.folder.mkdir(parents=True, exist_ok=True)
        run.termination_log.touch()
        run.prepare(spec)
        return self._starting(self.view(view.spec))

    def _starting(self, view: ContainerView) -> ContainerView:
        """A run that is prepared: spawn its supervisor unless that is under way."""
        run = self._folder.run(view.name, view.restarts)
        process = self._spawned.get(run.key)
        if process is None:
            if not run.supervised():
                self._spawned[run.key] = run.spawn()
        elif process.poll() is not None and run.state().phase == "prepared":
            log = (run.folder / "supervisor.log").read_text(encoding="utf-8", errors="replace")
            run.fail_to_start(f"the container's supervisor ended with {process.returncode}: {log[-1000:].strip()}")
        self._again(STARTUP_LOOK)
        return held_back(self.view(view.spec), Waiting("ContainerCreating"))

    def stop(self, run: Run, grace: float) -> None:
        """Have a run end within `grace` seconds; one that has not begun never does."""
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
        self._wake()

    def all_ended(self) -> bool:
        """Whether no run of the pod is prepared or running."""
        return all(run.state().phase in ("absent", "exited") for run in self._folder.runs())


def held_back(view: ContainerView, waiting: Waiting) -> ContainerView:
    """A container that waits, unless it has begun already."""
    if view.state.phase in ("running", "exited") and waiting.reason in ("PodInitializing", "ContainerCreating"):
        return view
    return ContainerView(
        view.spec, view.restarts, view.state, view.message, view.previous, view.previous_message, waiting
    )


def crash_backoff(view: ContainerView, now: datetime) -> timedelta:
    """How long until an ended container is started again: at once, then 10 s, 20 s … at most 300 s."""
    if view.restarts == 0 or view.state.finished_at is None or view.state.started_at is None:
        return timedelta(0)
    finished = parse_time(view.state.finished_at)
    if finished - parse_time(view.state.started_at) >= CRASH_RESET:
        return timedelta(0)
    delay = min(CRASH_BACKOFF * (1 << min(view.restarts - 1, 5)), CRASH_BACKOFF_LIMIT)
    return max(delay - (now - finished), timedelta(0))


def grace_of(pod: Obj) -> float:
    """Seconds that the pod's containers have between the request to end and the kill."""
    return float(pod["spec"].get("terminationGracePeriodSeconds", 30))
