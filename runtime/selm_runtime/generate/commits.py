"""Committing chunks: at once, or beside the engine's work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from selm_runtime.generate.responses import ChunkResponses

MOST_WAITING = 2
"""Chunks that wait to be committed; with more, the store is slower than the engine and is waited for."""


class Commits:
    """Commits one chunk after the other; on leaving the block without an error all are committed.

    With `ahead` it happens in a thread while the engine goes on. Without, `commit` returns once the chunk is committed, so
    that a kill costs the chunk at work and no other.
    """

    def __init__(self, commit: Callable[[ChunkResponses], None], *, ahead: bool) -> None:
        self._commit = commit
        self._thread = ThreadPoolExecutor(1, "commit") if ahead else None
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Commits:
        return self

    def commit(self, responses: ChunkResponses) -> None:
        """Raises what committing raises: this chunk's, or an earlier one's."""
        if self._thread is None:
            self._commit(responses)
            return
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= MOST_WAITING):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._commit, responses))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """What is whole is committed also where the engine failed; its error is not hidden by a commit's."""
        if self._thread is None:
            return
        self._thread.shutdown(wait=True)
        if kind is None:
            for waiting in self._waiting:
                waiting.result()
