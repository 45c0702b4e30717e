"""Kueue's part in a Job's life, imitated: it holds Jobs with its label suspended, admits them, and takes that back.

Kueue's webhook suspends a Job as it is created; a client can only do so right after, so that a pod may be made for a
moment. What follows is the same: `spec.suspend` is false from the admission on, true again when the Job is preempted,
and `spec.parallelism` is lowered while it is suspended where only a part of the quota is free.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

from support.e2e_watch import Watch
from support.lab import Lab

LABEL = "kueue.x-k8s.io/queue-name"


class ImitatedQueue:
    """Suspends every new Job of a queue at once; the test admits and preempts."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self._watch = lab, Watch(lab, "jobs", f"{LABEL}={name}")
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._suspend_new, name="imitated queue", daemon=True)
        self._thread.start()

    def holds(self, job: str) -> bool:
        """Whether the Job was suspended by this queue on its arrival."""
        return job in self._held

    def admit(self, job: str, parallelism: int | None = None) -> None:
        if parallelism is not None:
            self._patch(job, {"parallelism": parallelism})
        self._patch(job, {"suspend": False})

    def preempt(self, job: str) -> None:
        self._patch(job, {"suspend": True})

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)
        self._watch.close()

    def _suspend_new(self) -> None:
        seen = 0
        while not self._stop.is_set():
            events = self._watch.events
            for kind, job in events[seen:]:
                if kind == "ADDED":
                    self._patch(job["metadata"]["name"], {"suspend": True})
                    self._held.add(job["metadata"]["name"])
            seen = len(events)
            time.sleep(0.05)

    def _patch(self, job: str, spec: dict[str, object]) -> None:
        self._lab.kubectl("patch", "job", job, "--type=merge", "-p", json.dumps({"spec": spec}))


@contextlib.contextmanager
def imitated_queue(lab: Lab, name: str) -> Iterator[ImitatedQueue]:
    queue = ImitatedQueue(lab, name)
    try:
        yield queue
    finally:
        queue.close()
