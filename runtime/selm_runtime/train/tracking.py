"""Where a training's metrics go while it works: TensorBoard's event files, and the trackers of `spec.training.reportTo`.

Nothing here may stop or slow down training: calls run in order in a thread of their own, and one that fails is told in
the log. Nothing here is part of a manifest either: rates and times differ from attempt to attempt.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.upload import time_scale
from selm_runtime.contract import PhaseConfig

log = logging.getLogger(__name__)

ENV_TENSORBOARD_LOGDIR = "TENSORBOARD_LOGDIR"
"""A folder, on a mounted volume say, that takes the event files instead of the store. Set through podTemplates."""
EVENTS_FOLDER = "tensorboard"
"""Below the pod's folder in the store."""
FLUSH_SECONDS = 10
MOST_WAITING = 1000
"""Calls that may wait for a slow tracker; further ones are left out."""
CLOSE_SECONDS = 60.0
"""How long the end of training waits for what is still to be written."""


class Tracker(Protocol):
    """One place that takes metrics; used by one thread. Every method may raise whatever its library raises."""

    @property
    def begins_empty(self) -> bool:
        """Whether each attempt begins with nothing there, so that the steps of earlier ones are to be written again."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A step's values; steps count from 1."""

    def close(self, *, done: bool) -> None:
        """The attempt ends; `done`: because the training is."""


class Tracking:
    """All places of one attempt, on rank 0. No method raises or waits, but for `close`, which waits a minute at most."""

    def __init__(
        self, openers: Sequence[Callable[[], Tracker]], events: Callable[[], EventFiles] | None = None
    ) -> None:
        """All are opened in the thread: a tracker's server may be slow or away, a folder may not be there."""
        self._events: EventFiles | None = None
        self._trackers: list[Tracker] = []
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()
        if events is not None:
            self._submit(lambda: self._open_events(events))
        for opener in openers:
            self._submit(lambda opener=opener: self._trackers.append(opener()))  # type: ignore[misc]

    def replay(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write what earlier attempts did where this one begins with nothing, so that the newest files are whole."""
        kept = [dict(step) for step in history]
        self._submit(lambda: self._replay(kept))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A step's metrics and rates, to every place."""
        kept = dict(values)
        self._submit(lambda: self._each(lambda tracker: tracker.log(step, kept)))

    def upload(self) -> None:
        """Bring the event files so far to the store."""
        self._submit(lambda: self._events.upload() if self._events else None)

    def close(self, *, done: bool) -> None:
        """Write what is left; what takes longer than a minute is given up."""
        self._submit(lambda: self._each(lambda tracker: tracker.close(done=done)))
        self.upload()
        self._submit(None)
        self._thread.join(CLOSE_SECONDS * time_scale())
        if self._thread.is_alive():
            log.warning("trackers did not take everything within %g s", CLOSE_SECONDS * time_scale())
        if self._left_out:
            log.warning("%d calls were left out: a tracker was too slow", self._left_out)

    def _open_events(self, opener: Callable[[], EventFiles]) -> None:
        self._events = opener()
        self._trackers.append(self._events)

    def _replay(self, history: Sequence[Mapping[str, float]]) -> None:
        for tracker in self._trackers:
            if tracker.begins_empty:
                for step, values in enumerate(history, start=1):
                    tracker.log(step, values)

    def _submit(self, call: Callable[[], None] | None) -> None:
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._left_out += 1

    def _each(self, work: Callable[[Tracker], None]) -> None:
        for tracker in self._trackers:
            _tried(lambda tracker=tracker: work(tracker), type(tracker).__name__)  # type: ignore[misc]

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            _tried(call, "tracking")


def _tried(call: Callable[[], None], name: str) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever a tracker's library raises, training goes on
        log.warning("%s: %s: %s", name, type(error).__name__, error)


class EventFiles:
    """TensorBoard's event files of one attempt: in a local folder, or in the pod's folder of the store.

    Each attempt writes files of its own that begin with the steps of those before it.
    """

    def __init__(self, config: PhaseConfig, folder: PhaseFolder, scratch: Path) -> None:
        from tensorboardX import SummaryWriter

        self._folder = folder
        local = os.environ.get(ENV_TENSORBOARD_LOGDIR)
        run = config.run
        within = f"{run.namespace}/{run.name}/iter-{config.iteration}/attempt-{config.attempt}"
        self._to_store = not local
        self._place = Path(local, within) if local else scratch / EVENTS_FOLDER
        self._writer: Any = SummaryWriter(str(self._place), flush_secs=FLUSH_SECONDS)

    @property
    def begins_empty(self) -> bool:
        return True

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in sorted(values.items()):
            self._writer.add_scalar(f"train/{name}", value, step)

    def upload(self) -> None:
        """Bring what is written so far to the store: all of it once the files are closed."""
        if self._to_store:
            for path in sorted(self._place.iterdir()):
                key = f"{self._folder.place}/{self._folder.within}/{EVENTS_FOLDER}/{path.name}"
                self._folder.store.upload(path, key)

    def close(self, *, done: bool) -> None:  # noqa: ARG002 - a file knows no state but its end
        self._writer.close()
