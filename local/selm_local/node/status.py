"""A pod's status from the states of its containers: pure (kubelet: getPhase and the conditions of pkg/kubelet/status)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from selm_local.controllers.objects import Obj, format_time
from selm_local.node.runs import RunState
from selm_local.node.sources import NODE_ADDRESS

MESSAGE_LIMIT = 4096
"""Bytes of a termination message that are kept, from its end."""
LOG_MESSAGE_LIMIT, LOG_MESSAGE_LINES = 2048, 80
NODE_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True)
class Waiting:
    """Why a container does not run: ContainerCreating, PodInitializing, CreateContainerError, CrashLoopBackOff …"""

    reason: str
    message: str | None = None


ABSENT = RunState("absent")


@dataclass(frozen=True)
class ContainerView:
    """What is known of one container: its newest run, the one before, and what it waits for if it waits.

    started, ready: what its probes say while it runs.
    """

    spec: Obj
    restarts: int = 0
    state: RunState = ABSENT
    message: str | None = None
    previous: RunState | None = None
    previous_message: str | None = None
    waiting: Waiting | None = None
    started: bool = True
    ready: bool = True

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        return self.waiting is None and self.state.phase == "running"

    @property
    def ended(self) -> bool:
        """Whether it has ended and is not about to run again."""
        return self.waiting is None and self.state.phase == "exited"

    @property
    def succeeded(self) -> bool:
        return self.ended and self.state.exit_code == 0


def pod_status(
    pod: Obj,
    init: list[ContainerView],
    main: list[ContainerView],
    now: datetime,
    *,
    ending: bool = False,
    verdict: tuple[str, str] | None = None,
) -> Obj:
    """The pod's whole status as it is to be written.

    Args:
        ending: the pod is being deleted or was ended by the node, and nothing of it will be started again.
        verdict: reason and message with which the node itself failed the pod.
    """
    old = pod.get("status") or {}
    if all(view.succeeded for view in main):
        verdict = None  # it was done before it could be ended
    phase = "Failed" if verdict and _all_over(init + main) else _phase(pod, init, main, ending)
    status: Obj = {
        **old,
        "phase": phase,
        "hostIP": NODE_ADDRESS,
        "hostIPs": [{"ip": NODE_ADDRESS}],
        "podIP": NODE_ADDRESS,
        "podIPs": [{"ip": NODE_ADDRESS}],
        "startTime": old.get("startTime") or format_time(now),
        "containerStatuses": [_container_status(pod, view) for view in main],
    }
    if init:
        status["initContainerStatuses"] = [_container_status(pod, view) for view in init]
    if verdict:
        status["reason"], status["message"] = verdict
    status["conditions"] = _conditions(pod, init, main, phase, now)
    if verdict and verdict[0] == "Terminated":
        status["conditions"].append(_disruption(status["conditions"], verdict[1], now))
    return status


def _all_over(views: list[ContainerView]) -> bool:
    # One that is being started is not over: it may run before it can be told to end.
    return not any(view.state.phase in ("prepared", "running") for view in views)


def _phase(pod: Obj, init: list[ContainerView], main: list[ContainerView], ending: bool) -> str:
    policy = pod["spec"].get("restartPolicy", "Always")
    if ending:
        if not _all_over(init + main):
            begun = any(view.state.phase in ("running", "exited") or view.previous for view in main)
            return "Running" if begun else "Pending"
        return "Succeeded" if all(view.succeeded for view in main) else "Failed"
    if not all(view.succeeded for view in init):
        return "Failed" if policy == "Never" and any(view.ended and not view.succeeded for view in init) else "Pending"
    if all(view.ended for view in main):
        if all(view.succeeded for view in main):
            return "Running" if policy == "Always" else "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    # A container that has run before and waits for its back-off counts as running.
    if all(view.running or view.ended or view.previous or view.state.phase == "exited" for view in main):
        return "Running"
    return "Pending"


def _container_status(pod: Obj, view: ContainerView) -> Obj:
    state: Obj
    last: Obj = {}
    if view.waiting is not None:
        state = {"waiting": {"reason": view.waiting.reason}}
        if view.waiting.message:
            state["waiting"]["message"] = view.waiting.message
        if view.state.phase == "exited":
            last = {"terminated": _terminated(view.state, view.message)}
    elif view.state.phase == "exited":
        state = {"terminated": _terminated(view.state, view.message)}
    elif view.state.phase == "running":
        state = {"running": {"startedAt": _seconds(view.state.started_at)}}
    else:
        state = {"waiting": {"reason": "ContainerCreating"}}
    if not last and view.previous is not None:
        last = {"terminated": _terminated(view.previous, view.previous_message)}
    init_names = {one["name"] for one in pod["spec"].get("initContainers") or []}
    return {
        "name": view.name,
        "image": view.spec.get("image", ""),
        "imageID": "",
        "containerID": f"process://{pod['metadata']['uid']}/{view.name}/{view.restarts}"
        if view.state.phase != "absent"
        else "",
        "ready": view.succeeded if view.name in init_names else view.running and view.ready,
        "started": view.running and view.started,
        "restartCount": view.restarts,
        "state": state,
        "lastState": last,
    }


def _terminated(state: RunState, message: str | None) -> Obj:
    ended: Obj = {
        "exitCode": state.exit_code,
        "reason": state.reason,
        "startedAt": _seconds(state.started_at),
        "finishedAt": _seconds(state.finished_at),
    }
    if text := state.message or message:
        ended["message"] = text
    return ended


def _conditions(pod: Obj, init: list[ContainerView], main: list[ContainerView], phase: str, now: datetime) -> list[Obj]:
    old = {one["type"]: one for one in (pod.get("status") or {}).get("conditions") or []}
    initialized = all(view.succeeded for view in init) or phase == "Succeeded"
    ready = bool(main) and all(view.running and view.ready for view in main) and phase == "Running"
    started = any(view.state.phase != "absent" for view in init + main) and phase in ("Pending", "Running")
    unready = [view.name for view in main if not (view.running and view.ready)]
    if phase == "Succeeded":
        why: Obj = {"reason": "PodCompleted"}
    elif phase == "Failed":
        why = {"reason": "PodFailed"}
    else:
        text = f"containers with unready status: [{' '.join(unready)}]"
        why = {"reason": "ContainersNotReady", "message": text}
    waiting = [view.name for view in init if not view.succeeded]
    not_initialized: Obj = {
        "reason": "ContainersNotInitialized",
        "message": f"containers with incomplete status: [{' '.join(waiting)}]",
    }
    wanted: list[tuple[str, bool, Obj]] = [
        ("PodReadyToStartContainers", started, {}),
        ("Initialized", initialized, {"reason": "PodCompleted"} if phase == "Succeeded" else {}),
        ("Ready", ready, why),
        ("ContainersReady", ready, why),
        ("PodScheduled", True, {}),
    ]
    conditions = []
    for type_, true, reason in wanted:
        if type_ == "Initialized" and not true:
            reason = not_initialized
        elif type_ in ("Ready", "ContainersReady") and true:
            reason = {}
        before = old.get(type_)
        value = "True" if true else "False"
        moment = before["lastTransitionTime"] if before and before["status"] == value else format_time(now)
        conditions.append(
            {"type": type_, "status": value, "lastProbeTime": None, "lastTransitionTime": moment, **reason}
        )
    # What others wrote (DisruptionTarget) stays.
    return conditions + [one for type_, one in old.items() if type_ not in NODE_CONDITIONS]


def _disruption(conditions: list[Obj], message: str, now: datetime) -> Obj:
    """The condition by which failure policies tell a disruption; replaces one that is there."""
    conditions[:] = [one for one in conditions if one["type"] != "DisruptionTarget"]
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "TerminationByKubelet",
        "message": message,
        "lastProbeTime": None,
        "lastTransitionTime": format_time(now),
    }


def _seconds(moment: str | None) -> str | None:
    """Container times are metav1.Time: whole seconds."""
    return f"{moment[:19]}Z" if moment else None


def cut_message(data: bytes, limit: int = MESSAGE_LIMIT) -> str | None:
    """The end of a termination message that is kept; None where there is none."""
    return data[-limit:].decode(errors="replace") or None
