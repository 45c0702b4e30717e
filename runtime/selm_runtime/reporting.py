"""What a pod says while it works: JSON lines on stdout for people, the termination message for the operator."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from selm_runtime.contract import (
    DEFAULT_TERMINATION_LOG,
    ENV_TERMINATION_LOG,
    TERMINATION_MESSAGE_LIMIT,
    Phase,
    PhaseError,
    ShardProgress,
    TerminationMessage,
)

PROGRESS_INTERVAL_SECONDS = 3.0
MOST_METRICS = 16
_SHORTEST_ERROR = 64

_log = logging.getLogger(__name__)


class Reporter:
    """One per process. Only the process that commits rewrites the termination message."""

    def __init__(
        self,
        phase: Phase,
        iteration: int,
        index: int,
        *,
        termination_log: Path | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self._identity = {"phase": phase.value, "iteration": iteration, "index": index}
        self._stream = stream
        self._termination_log = termination_log
        self._last_progress = -float("inf")

    @classmethod
    def from_environment(cls, phase: Phase, iteration: int, index: int) -> Reporter:
        """With the termination log of the environment, or Kubernetes' default path where the kubelet made it."""
        named = os.environ.get(ENV_TERMINATION_LOG)
        default = Path(DEFAULT_TERMINATION_LOG)
        path = Path(named) if named else default if default.exists() else None
        return cls(phase, iteration, index, termination_log=path)

    def progress(self, *, done: int, total: int, unit: str, force: bool = False, **values: float) -> None:
        """One line at most every few seconds (the last unit and `force` always print).

        `values` are rates and means such as tokens_per_second, pairs_per_second, reward, loss; the names
        are written in camelCase.
        """
        now = time.monotonic()
        if not force and done < total and now - self._last_progress < PROGRESS_INTERVAL_SECONDS:
            return
        self._last_progress = now
        self._write_line("progress", {"done": done, "total": total, "unit": unit, **values})

    def event(self, kind: str, **facts: Any) -> None:
        """One line, always: an engine call, a checkpoint, the seconds of a stage."""
        self._write_line(kind, facts)

    @contextmanager
    def stage(self, name: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """The block's seconds as one line, once it has ended well, with `facts` and what the block adds to them."""
        started = time.monotonic()
        yield facts
        self.event("stage", name=name, seconds=round(time.monotonic() - started, 3), **facts)

    def committed(
        self,
        *,
        manifest: str | None = None,
        rows: int | None = None,
        chunks: tuple[int, int] | None = None,
        checkpoint_step: int | None = None,
        metrics: Mapping[str, float] | None = None,
        best_iteration: int | None = None,
        model_uri: str | None = None,
    ) -> None:
        """Rewrite the termination message with what is given here, on top of what was said before.

        `manifest` is a digest, `chunks` is (done, total). Beyond 16 metrics the first ones are kept.
        """
        said: dict[str, Any] = {
            "manifest": manifest,
            "rows": rows,
            "chunks": None if chunks is None else ShardProgress(done=chunks[0], total=chunks[1]),
            "checkpoint_step": checkpoint_step,
            "metrics": None if metrics is None else dict(list(metrics.items())[:MOST_METRICS]),
            "best_iteration": best_iteration,
            "model_uri": model_uri,
        }
        self._say({key: value for key, value in said.items() if value is not None})

    def failed(self, reason: str, message: str) -> None:
        """Add why the pod ends; the message is shortened to what the limit leaves."""
        self._say({"error": PhaseError(reason=reason, message=message)})

    def _write_line(self, kind: str, facts: Mapping[str, Any]) -> None:
        named = {to_camel(key) if "_" in key else key: value for key, value in facts.items()}
        stream = self._stream or sys.stdout
        stream.write(json.dumps({"selm": kind, **self._identity, **named}, default=str) + "\n")
        stream.flush()

    def _say(self, said: Mapping[str, Any]) -> None:
        if self._termination_log is None:
            return
        merged = read_termination_message(self._termination_log).model_copy(update=dict(said))
        try:
            replace_file(self._termination_log, encode(merged))
        except OSError:
            # The work is committed all the same; an attempt that says nothing costs one that finds it.
            _log.exception("cannot write the termination message to %s", self._termination_log)


def read_termination_message(path: Path) -> TerminationMessage:
    """What was said before; empty where nothing was, or where another program wrote there."""
    try:
        return TerminationMessage.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return TerminationMessage()


def encode(message: TerminationMessage) -> bytes:
    """JSON of at most `TERMINATION_MESSAGE_LIMIT` bytes: the error is shortened first, then metrics go."""
    whole = _dump(message)
    if len(whole) <= TERMINATION_MESSAGE_LIMIT:
        return whole
    if message.error is not None and len(message.error.message) > _SHORTEST_ERROR:
        # The longest beginning that fits: how many bytes a character takes in JSON differs.
        texts = range(_SHORTEST_ERROR, len(message.error.message))
        fitting = bisect_right(
            texts, TERMINATION_MESSAGE_LIMIT, key=lambda kept: len(_dump(_with_error_cut(message, kept)))
        )
        return encode(_with_error_cut(message, texts[fitting - 1] if fitting else _SHORTEST_ERROR - 1))
    if message.metrics:
        return encode(message.model_copy(update={"metrics": dict(list(message.metrics.items())[:-1])}))
    raise ValueError(f"a termination message of {len(whole)} bytes cannot be shortened")


def _with_error_cut(message: TerminationMessage, kept: int) -> TerminationMessage:
    assert message.error is not None
    error = message.error.model_copy(update={"message": message.error.message[:kept] + "…"})
    return message.model_copy(update={"error": error})


def _dump(message: TerminationMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True).encode()


def replace_file(path: Path, data: bytes) -> None:
    """Replace a small file's content so that a reader, or a kill at any line, sees the old or the new.

    By a rename where the directory allows it. In a cluster the path is a mount point, which cannot be renamed
    over: there one write of at least the old length (blanks after JSON are JSON) comes before the cut.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_mount() or path.is_symlink():
            raise OSError("cannot be renamed over")
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size), 0)
            os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)
