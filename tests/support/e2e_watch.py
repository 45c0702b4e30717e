"""What happened to objects of one kind, as the API server told it: for claims about every moment of a run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator

from support.lab import Json, Lab

Event = tuple[str, Json]
"""ADDED, MODIFIED or DELETED, and the object."""


class Watch:
    """The events of one kind with a label selector, from now on, by `kubectl get --watch`."""

    def __init__(self, lab: Lab, kind: str, selector: str) -> None:
        self._events: list[Event] = []
        self._process = subprocess.Popen(
            lab.kubectl_command("get", kind, "-l", selector, "-o", "json", "--watch", "--output-watch-events"),
            env=lab.kubectl_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"watch of {kind}", daemon=True)
        self._reader.start()

    @property
    def events(self) -> list[Event]:
        """Those seen so far, in their order."""
        return list(self._events)

    @property
    def runs(self) -> bool:
        """Whether the watch goes on: one that broke off proves nothing."""
        return self._process.poll() is None

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self._events.append((event["type"], event["object"]))


@contextlib.contextmanager
def watching(lab: Lab, kind: str, selector: str) -> Iterator[Watch]:
    watch = Watch(lab, kind, selector)
    try:
        yield watch
    finally:
        watch.close()


def is_active_job(job: Json) -> bool:
    """Neither Complete nor Failed; one being deleted is active until it is gone."""
    conditions = job.get("status", {}).get("conditions", [])
    return not any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


def is_active_pod(pod: Json) -> bool:
    return pod.get("status", {}).get("phase", "Pending") not in ("Succeeded", "Failed")


def active_together(events: list[Event], active: Callable[[Json], bool], by: Callable[[Json], str]) -> set[str]:
    """The largest set of names that were active at one moment; `by` names an object (two may share a name)."""
    now: dict[str, str] = {}
    most: set[str] = set()
    for kind, obj in events:
        uid = obj["metadata"]["uid"]
        if kind == "DELETED" or not active(obj):
            now.pop(uid, None)
        else:
            now[uid] = by(obj)
        most = max(most, set(now.values()), key=len)
    return most


def name_of(obj: Json) -> str:
    return str(obj["metadata"]["name"])


def job_of(pod: Json) -> str:
    return str(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])


def assert_one_at_a_time(jobs: Watch, pods: Watch) -> None:
    """Never were two Jobs of the run active, nor pods of two Jobs."""
    assert jobs.runs, "the watch of Jobs broke off"
    assert pods.runs, "the watch of pods broke off"
    for watch, active, by in ((jobs, is_active_job, name_of), (pods, is_active_pod, job_of)):
        together = active_together(watch.events, active, by)
        assert together, "the watch saw nothing"
        assert len(together) == 1, f"active at one moment: {sorted(together)}"


def exit_codes(events: list[Event], wanted: Callable[[Json], bool]) -> set[int]:
    """How containers of wanted pods ended, pods that are gone by now included."""
    codes = set()
    for _, pod in events:
        if wanted(pod):
            for status in pod.get("status", {}).get("containerStatuses", []):
                ended = status.get("state", {}).get("terminated")
                if ended is not None:
                    codes.add(int(ended["exitCode"]))
    return codes
