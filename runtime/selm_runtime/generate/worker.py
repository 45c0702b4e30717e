"""One engine in a process of its own: takes plans from the pod's queue through a pipe, sends whole chunks back.

It knows no store and no tokenizer, so killing it costs the chunks that it has open and nothing else.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from selm_runtime import faults
from selm_runtime.engine import Completion, Engine, EngineSettings, Sampling
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.generate.loop import RequestEngine, run_chunks
from selm_runtime.generate.progress import share_of_prompt
from selm_runtime.generate.requests import ChunkPlan
from selm_runtime.generate.responses import ChunkResponses
from selm_runtime.phase import StopFlag
from selm_runtime.train.processes import die_with_parent

MakeEngine = Callable[[EngineSettings, Sampling], RequestEngine]
"""`Engine` itself; importable by its name, so that it can be sent to a process."""

PROGRESS_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where an engine process runs: the processors (empty: all) and variables that are its own."""

    cpus: tuple[int, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True)
class WorkerTask:
    """What a worker is started with."""

    settings: EngineSettings
    sampling: Sampling
    reproducible: bool
    make_engine: MakeEngine = Engine


@dataclass(frozen=True)
class HandOver:
    """To the worker: a chunk, the `ordinal`-th (from 1) that the pod hands to any engine."""

    plan: ChunkPlan
    ordinal: int


# From the worker


@dataclass(frozen=True)
class Started:
    """The engine is there; `seconds` since the process began, its imports included."""

    seconds: float


@dataclass(frozen=True)
class Take:
    """The engine has room for another chunk: a HandOver is to be sent, or None where there will be no more."""


@dataclass(frozen=True)
class Advanced:
    """So many more prompts and tokens are done."""

    prompts: float
    tokens: int


@dataclass(frozen=True)
class Done:
    """A chunk is whole."""

    responses: ChunkResponses


@dataclass(frozen=True)
class Refused:
    """The engine cannot be made: the reason and message of InvalidInput, or of TemporaryFailure."""

    reason: str
    message: str
    temporary: bool = False


@dataclass(frozen=True)
class LastWords:
    """What the worker dies of."""

    words: str


def work(connection: Connection, task: WorkerTask, place: Place, parent: int) -> None:
    """The process' main function. SIGTERM is the pod's first process' matter, which ends its workers itself."""
    die_with_parent(parent)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        _settle(place)
        _serve(connection, task)
    except (InvalidInput, TemporaryFailure) as refusal:
        connection.send(Refused(refusal.reason, refusal.message, isinstance(refusal, TemporaryFailure)))
    except (BrokenPipeError, EOFError) as error:
        # The pod's first process is gone or has no use for this one; or a pipe of the engine's own broke.
        with suppress(OSError):
            connection.send(LastWords(f"{type(error).__name__}: {error}"))
        os._exit(1)
    except Exception as error:
        traceback.print_exc()
        connection.send(LastWords(f"{type(error).__name__}: {error}"))
        raise SystemExit(1) from error


def _settle(place: Place) -> None:
    os.environ.update(place.variables)
    if place.cpus:
        os.sched_setaffinity(0, place.cpus)
        os.environ.setdefault("OMP_NUM_THREADS", str(len(place.cpus)))


def _serve(connection: Connection, task: WorkerTask) -> None:
    began = time.monotonic()
    engine = task.make_engine(task.settings, task.sampling)
    connection.send(Started(round(time.monotonic() - began, 3)))
    forwarder = _Forwarder(connection)
    ordinals: dict[int, int] = {}
    try:
        plans = _plans(connection, ordinals)
        for responses in run_chunks(engine, plans, forwarder, StopFlag(), reproducible=task.reproducible):
            faults.reach("engine-chunk-done", ordinals[responses.plan.chunk])
            forwarder.flush()
            connection.send(Done(responses))
    finally:
        engine.close()


def _plans(connection: Connection, ordinals: dict[int, int]) -> Iterator[ChunkPlan]:
    while True:
        connection.send(Take())
        handed: HandOver | None = connection.recv()
        if handed is None:
            return
        ordinals[handed.plan.chunk] = handed.ordinal
        yield handed.plan


class _Forwarder:
    """Tells the pod's first process of the progress, about once a second. What begins, that process knows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prompts = 0.0
        self._tokens = 0
        self._told = time.monotonic()

    def began(self, plan: ChunkPlan) -> None:
        pass

    def finished(self, plan: ChunkPlan, completion: Completion) -> None:
        self._prompts += share_of_prompt(plan)
        self._tokens += len(completion.ids)
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._connection.send(Advanced(self._prompts, self._tokens))
        self._prompts, self._tokens, self._told = 0.0, 0, time.monotonic()
