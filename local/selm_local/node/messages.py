"""Termination messages: the last words of containers (kubelet: terminationMessagePath and -Policy)."""

from __future__ import annotations

from pathlib import Path

from selm_local.controllers.objects import Obj
from selm_local.node.runs import Run, RunState
from selm_local.node.status import LOG_MESSAGE_LIMIT, LOG_MESSAGE_LINES, MESSAGE_LIMIT, cut_message


class MessageReader:
    """Reads the message of an ended run once; it never changes afterwards."""

    def __init__(self) -> None:
        self._read: dict[str, str | None] = {}

    def read(self, run: Run, state: RunState, container: Obj) -> str | None:
        """The message of a run that has exited; None before that and where there is none."""
        if state.phase != "exited":
            return None
        if run.key not in self._read:
            self._read[run.key] = _message(run, state, container)
        return self._read[run.key]


def _message(run: Run, state: RunState, container: Obj) -> str | None:
    found = cut_message(_tail(run.termination_log, MESSAGE_LIMIT))
    if found or container.get("terminationMessagePolicy") != "FallbackToLogsOnError" or state.exit_code == 0:
        return found
    lines = _tail(run.log, LOG_MESSAGE_LIMIT).splitlines(keepends=True)
    return cut_message(b"".join(lines[-LOG_MESSAGE_LINES:]), LOG_MESSAGE_LIMIT)


def _tail(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - size, 0))
            return file.read(size)
    except FileNotFoundError:
        return b""
