"""Where the logs of pods are: an interface that the node fulfils."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from selm_local.apiserver.storage import Object


class PodLogs(Protocol):
    def path(self, pod: Object, container: str) -> Path:
        """The file that the container's output is appended to; it need not exist yet.

        Beside it, where there is one, lies `<name>.times`: lines `<offset> <RFC 3339 time>`, each for the bytes from
        that offset on.
        """
        ...


def times_path(log: Path) -> Path:
    return log.with_name(f"{log.name}.times")
