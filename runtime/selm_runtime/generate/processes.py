"""Several engines in one pod, each in a process: they take chunks from the pod's own queue until there are none.

Data parallel for one model, or one model after the other where two policies answer. The pod's first process has the queue,
the tokenizer and the store; it commits what its workers send.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.generate.progress import Meter
from selm_runtime.generate.queue import ChunkQueue
from selm_runtime.generate.requests import ChunkPlan
from selm_runtime.generate.responses import ChunkResponses
from selm_runtime.generate.worker import (
    Advanced,
    Done,
    HandOver,
    LastWords,
    Place,
    Refused,
    Started,
    Take,
    WorkerTask,
    work,
)
from selm_runtime.phase import StopFlag
from selm_runtime.reporting import Reporter

POLL_SECONDS = 0.2
"""How often SIGTERM is looked for while all engines work."""


class EngineLost(RuntimeError):
    """An engine process died and its work is not to be tried again in this pod: the attempt counts."""


@dataclass(frozen=True)
class ModelWork:
    """What one model is to do: how to start its engine, and the numbers of its chunks."""

    task: WorkerTask
    chunks: Sequence[int]


@dataclass
class _Worker:
    number: int
    slot: int
    model: str
    process: SpawnProcess
    connection: Connection
    started: bool = False
    dismissed: bool = False  # was told that there is nothing more
    words: str = ""


def places(engines: int, gpus_each: int, *, gpus: Sequence[str], cpus: Sequence[int]) -> list[Place]:
    """Where the pod's engines run: each on GPUs of its own, or without GPUs on a part of the processors.

    Raises InvalidInput where there are fewer GPUs than the engines need.
    """
    if not gpus:
        if engines == 1:
            return [Place((), {})]
        shares = [tuple(cpus[i::engines]) or (cpus[i % len(cpus)],) for i in range(engines)]
        return [Place(share, {}) for share in shares]
    if engines * gpus_each > len(gpus):
        raise InvalidInput(
            "TooFewGPUs",
            f"spec.generation.enginesPerPod: found {engines}, each over {gpus_each} GPUs (tensorParallelSize), but the pod "
            f"has {len(gpus)}; allowed is at most {len(gpus) // gpus_each}",
        )
    blocks = [gpus[i * gpus_each : (i + 1) * gpus_each] for i in range(engines)]
    return [Place((), {"CUDA_VISIBLE_DEVICES": ",".join(block)}) for block in blocks]


def generate_in_processes(
    models: Mapping[str, ModelWork],
    plans: Callable[[], Sequence[ChunkPlan]],
    where: Sequence[Place],
    reporter: Reporter,
    stop: StopFlag,
) -> Generator[ChunkResponses]:
    """Yields all chunks of all models, in the order in which they become whole.

    `plans` makes those of all models; it is called while the engines start, which takes as long as tokenising does.

    A chunk whose process died is given to another one, once. Raises EngineLost where that one dies of it, too, or where an
    engine dies before it is there; InvalidInput where one is refused; TemporaryFailure where the store of streamed weights is
    away, or once the pod was asked to go.
    """
    pool = _Pool(models, where, reporter)
    try:
        pool.fill()
        pool.expect(plans())
        while not pool.finished:
            stop.check()
            yield from pool.hear()
    except EngineLost:
        stop.check()  # what ends the pod may reach an engine first: then it is no failure
        raise
    finally:
        pool.kill()


class _Pool:
    """The workers and what they are told."""

    def __init__(self, models: Mapping[str, ModelWork], where: Sequence[Place], reporter: Reporter) -> None:
        self.workers: dict[int, _Worker] = {}
        self._models = models
        self._where = where
        self._reporter = reporter
        self._queue = ChunkQueue({model: sorted(its.chunks) for model, its in models.items()})
        self._plans: dict[int, ChunkPlan] = {}
        self._meter = Meter(reporter, 0)
        self._numbers = itertools.count()
        self._ordinals = itertools.count(1)
        self._context = multiprocessing.get_context("spawn")

    @property
    def finished(self) -> bool:
        """Whether every chunk is whole; an engine that is still starting, or ending, is not waited for."""
        return self._queue.finished

    def fill(self) -> None:
        """A worker in every place, where there are chunks enough."""
        for slot in range(min(len(self._where), self._queue.waiting)):
            self._start(slot)

    def expect(self, plans: Sequence[ChunkPlan]) -> None:
        """What the chunks are, before any worker is heard."""
        self._plans = {plan.chunk: plan for plan in plans}
        self._meter = Meter(self._reporter, sum(plan.prompts for plan in plans))

    def hear(self) -> Iterator[ChunkResponses]:
        """What the workers say within a moment; the whole chunks among it."""
        by_connection = {worker.connection: worker for worker in self.workers.values()}
        ended = {worker.process.sentinel: worker for worker in self.workers.values()}
        ready = wait([*by_connection, *ended], POLL_SECONDS)
        for worker in [by_connection[it] for it in ready if isinstance(it, Connection)]:
            yield from self._listen(worker)
        for worker in [ended[it] for it in ready if isinstance(it, int)]:
            if worker.number in self.workers and not worker.connection.poll():  # what it said last is heard first
                self._ended(worker)

    def kill(self) -> None:
        """No worker is left, whatever it was doing."""
        for worker in self.workers.values():
            worker.process.kill()
        for worker in self.workers.values():
            worker.process.join()
            worker.connection.close()
        self.workers.clear()

    def _start(self, slot: int) -> None:
        model = self._queue.model_for([worker.model for worker in self.workers.values()])
        if model is None:
            return
        number = next(self._numbers)
        mine, theirs = self._context.Pipe()
        # Not a daemon: an engine over several GPUs has processes of its own.
        arguments = (theirs, self._models[model].task, self._where[slot], os.getpid())
        process = self._context.Process(target=work, args=arguments, name=f"engine-{number}")
        process.start()
        theirs.close()
        self.workers[number] = _Worker(number, slot, model, process, mine)

    def _listen(self, worker: _Worker) -> Iterator[ChunkResponses]:
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):  # it ended, perhaps in the midst of a message
            self._ended(worker)
            return
        match said:
            case Started(seconds):
                worker.started = True
                self._reporter.event("stage", name="engine", engine=worker.number, model=worker.model, seconds=seconds)
            case Take():
                self._hand_over(worker)
            case Advanced(prompts, tokens):
                self._meter.advance(prompts, tokens)
            case Done(responses):
                self._queue.done(worker.number, responses.plan.chunk)
                yield responses
            case Refused(reason, message, temporary):
                raise (TemporaryFailure if temporary else InvalidInput)(reason, message)
            case LastWords(words):
                worker.words = words

    def _hand_over(self, worker: _Worker) -> None:
        chunk = self._queue.take(worker.number, worker.model)
        handed = None
        if chunk is None:
            worker.dismissed = True
        else:
            handed = HandOver(self._plans[chunk], next(self._ordinals))
            self._meter.began(handed.plan)
        try:
            worker.connection.send(handed)
        except OSError:
            self._ended(worker)

    def _ended(self, worker: _Worker) -> None:
        """Takes a worker off the books; starts another in its place where chunks wait."""
        worker.process.join()
        worker.connection.close()
        del self.workers[worker.number]
        chunks = self._queue.lost(worker.number)
        code = worker.process.exitcode
        if chunks or not worker.dismissed:
            self._reporter.event(
                "engine-lost", engine=worker.number, exit=code, chunks=list(chunks), words=worker.words or None
            )
        how = f"engine process {worker.number} ended with {code}{f' ({worker.words})' if worker.words else ''}"
        if not worker.started:
            raise EngineLost(f"{how} before its engine was there")
        if doomed := self._queue.doomed():
            raise EngineLost(f"{how}, the second to die of chunk {doomed[0]}")
        self._start(worker.slot)
