"""The life of a phase's process: context, SIGTERM, reuse, exit codes, last words."""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from selm_runtime.artifacts.cache import ModelCache
from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.artifacts.reader import RunReader
from selm_runtime.artifacts.store import Store, open_store
from selm_runtime.artifacts.upload import time_scale
from selm_runtime.contract import (
    ENV_CACHE_DIR,
    ENV_COMPLETION_INDEX,
    ENV_PHASE_CONFIG,
    ENV_WRITER_ID,
    ExitCode,
    Phase,
    PhaseConfig,
)
from selm_runtime.errors import InvalidInput, PhaseFailure, TemporaryFailure
from selm_runtime.inputs import input_digest, required_manifests
from selm_runtime.reporting import Reporter

CRASHED = 1
PHASE_MODULES = {
    Phase.PREPARATION: "selm_runtime.prepare",
    Phase.GENERATION: "selm_runtime.generate",
    Phase.SCORING: "selm_runtime.score",
    Phase.TRAINING: "selm_runtime.train",
    Phase.EVALUATION: "selm_runtime.evaluate",
    Phase.PUSH: "selm_runtime.push.phase",
}
ADOPTION_WAIT_SECONDS = 20.0
"""How long the other indexes leave an adoption to index 0 before they do it themselves."""

HTTP_CLIENTS = ("httpx", "httpx2")
"""Loggers of the clients that judges' endpoints and the hub are asked with."""

_log = logging.getLogger(__name__)


class StopFlag:
    """Set once the pod was asked to go; phases look at it between units of work."""

    def __init__(self) -> None:
        self._requested = False

    @property
    def requested(self) -> bool:
        """True after SIGTERM."""
        return self._requested

    def request(self) -> None:
        self._requested = True

    def check(self) -> None:
        """Raise TemporaryFailure (`Preempted`) once the pod was asked to go: call it between units of work."""
        if self._requested:
            raise TemporaryFailure("Preempted", "the pod was asked to end; what is committed is kept")


@dataclass(frozen=True)
class PhaseContext:
    """What a phase's `run(ctx)` is given."""

    config: PhaseConfig
    store: Store
    folder: PhaseFolder
    index: int
    """The completion index: the shard, or the node rank in Training."""
    scratch: Path
    """A private folder, removed when the process ends."""
    cache: ModelCache
    reporter: Reporter
    stop: StopFlag


def log_to_stderr() -> None:
    """What libraries and our own modules say, but not a line for each HTTP request: a judge is asked thousands of times."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for client in HTTP_CLIENTS:
        logging.getLogger(client).setLevel(logging.WARNING)


def main(slug: str) -> int:
    """Run the phase whose config is in the environment; returns the process' exit code."""
    log_to_stderr()
    try:
        config = read_config(slug)
        index = completion_index()
    except InvalidInput as failure:
        phase = next((phase for phase in Phase if phase.slug == slug), Phase.PREPARATION)
        return _end(Reporter.from_environment(phase, 0, 0), failure)
    reporter = Reporter.from_environment(config.phase, config.iteration, index)
    try:
        with open_context(config, index, reporter) as ctx:
            run_phase(ctx)
    except PhaseFailure as failure:
        return _end(reporter, failure)
    except Exception as error:  # noqa: BLE001 - the process' last line: whatever it was, it is told and counted
        _log.exception("the phase crashed")
        reporter.failed("Crashed", _last_words(error))
        return CRASHED
    return ExitCode.DONE


def read_config(slug: str) -> PhaseConfig:
    """The phase config of the environment. Raises InvalidInput naming the field that does not fit."""
    text = os.environ.get(ENV_PHASE_CONFIG)
    if not text:
        raise InvalidInput("InvalidConfig", f"{ENV_PHASE_CONFIG} is not set; allowed is a phase config as JSON")
    try:
        config = PhaseConfig.model_validate_json(text)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}" for found in error.errors()[:5]
        )
        raise InvalidInput("InvalidConfig", f"{ENV_PHASE_CONFIG}: {details}") from error
    if config.phase.slug != slug:
        raise InvalidInput("InvalidConfig", f"{ENV_PHASE_CONFIG}: phase is {config.phase}, the command says {slug!r}")
    return config


def completion_index() -> int:
    """The pod's index in its Job; 0 where the Job is not indexed."""
    text = os.environ.get(ENV_COMPLETION_INDEX) or "0"
    if not text.isdigit():
        raise InvalidInput("InvalidConfig", f"{ENV_COMPLETION_INDEX}: found {text!r}, allowed is an integer from 0")
    return int(text)


def writer_id() -> str:
    """The pod's uid, or a fresh one outside of pods: names this process' folder in the store."""
    text = os.environ.get(ENV_WRITER_ID) or uuid.uuid4().hex
    if not re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9]{0,63}", text):
        raise InvalidInput("InvalidConfig", f"{ENV_WRITER_ID}: found {text!r}, allowed are letters, digits and '-'")
    return text


@contextmanager
def open_context(config: PhaseConfig, index: int, reporter: Reporter) -> Iterator[PhaseContext]:
    """Everything a phase is given; worker processes of a phase open their own.

    Reads the manifests that the phase is made from. SIGTERM sets the stop flag while the context is open.
    """
    stop = StopFlag()
    store = open_store(config.artifacts)
    scratch = Path(tempfile.mkdtemp(prefix=f"selm-{config.phase.slug}-"))
    with _on_sigterm(stop.request):
        try:
            reader = RunReader(store, config.run)
            manifests = {
                (phase, iteration): _committed(reader, config, phase, iteration)
                for phase, iteration in required_manifests(config)
            }
            folder = PhaseFolder(
                store,
                config,
                input_digest=input_digest(config, manifests),
                writer=writer_id(),
                reporter=reporter,
                between=stop.check,
            )
            cache_root = Path(os.environ.get(ENV_CACHE_DIR) or Path(tempfile.gettempdir(), "selm-cache"))
            cache = ModelCache(cache_root, folder.fetch)
            yield PhaseContext(config, store, folder, index, scratch, cache, reporter, stop)
            cache.close()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def run_phase(ctx: PhaseContext) -> None:
    """End at once where the phase is committed or equal work can be adopted; else import the phase and run it."""
    started = time.monotonic()
    done = ctx.folder.committed()
    if done is not None:
        ctx.folder.settle(done)
        ctx.reporter.event("already-committed", manifest=done.digest)
        return
    adopted = adopt(ctx)
    if adopted is not None:
        ctx.reporter.event("adopted", manifest=adopted.digest, seconds=round(time.monotonic() - started, 3))
        return
    with ctx.reporter.stage("phase"):
        with ctx.reporter.stage("import"):
            module = importlib.import_module(PHASE_MODULES[ctx.config.phase])
        module.run(ctx)


def adopt(ctx: PhaseContext) -> Manifest | None:
    """Equal work of another run of the namespace, taken over by index 0; the others wait for it a little."""
    if not ctx.folder.can_adopt():
        return None
    deadline = time.monotonic() + (ADOPTION_WAIT_SECONDS * time_scale() if ctx.index else 0.0)
    while time.monotonic() < deadline:
        ctx.stop.check()
        done = ctx.folder.committed()
        if done is not None:
            ctx.folder.settle(done)
            return done
        time.sleep(min(1.0, ADOPTION_WAIT_SECONDS * time_scale() / 10))
    return ctx.folder.adopt(lambda manifest: _retain(ctx, manifest))


def _retain(ctx: PhaseContext, manifest: Manifest) -> None:
    """An iteration's end removes models by `spec.retention`, also where its Evaluation was adopted."""
    if ctx.config.phase is Phase.EVALUATION and "bestIteration" in manifest.facts:
        from selm_runtime.evaluate.retention import models_to_remove, remove_models

        best = int(manifest.facts["bestIteration"])
        remove_models(ctx.folder, models_to_remove(ctx.config.retention, ctx.config.iteration, best))


def _committed(reader: RunReader, config: PhaseConfig, phase: Phase, iteration: int) -> Manifest:
    digest = config.manifest_of(phase, iteration)
    if digest is None:
        raise InvalidInput(
            "MissingArtifact",
            f"{config.phase} of iteration {config.iteration} needs {phase} of iteration {iteration}, "
            "which is not among the phases committed so far",
        )
    return reader.manifest(phase, iteration, digest)


@contextmanager
def _on_sigterm(request: Callable[[], None]) -> Iterator[None]:
    def handle(_signal: int, _frame: FrameType | None) -> None:
        request()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(reporter: Reporter, failure: PhaseFailure) -> int:
    _log.error("%s", failure)
    reporter.failed(failure.reason, failure.message)
    return failure.exit_code


def _last_words(error: BaseException) -> str:
    where = ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"
    return f"{type(error).__name__}: {error}{where}"
