"""The pod's own queue of chunks: which engine process gets which, and what happens to those of one that died. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

MOST_LOSSES = 2
"""Engine processes that one chunk may see die: what kills two is the chunk or the machine, not chance."""


class ChunkQueue:
    """Chunks by the model that makes them. A chunk waits, is held by one worker, or is done.

    Engines take chunks when they have room for them, so that a slow chunk holds up its own engine and no other.
    """

    def __init__(self, chunks: Mapping[str, Sequence[int]]) -> None:
        self._waiting = {model: deque(its) for model, its in chunks.items()}
        self._held: dict[int, dict[int, str]] = {}
        self._losses: Counter[int] = Counter()

    def take(self, worker: int, model: str) -> int | None:
        """The next chunk of the worker's model, which it then holds; None where none waits."""
        if not self._waiting[model]:
            return None
        chunk = self._waiting[model].popleft()
        self._held.setdefault(worker, {})[chunk] = model
        return chunk

    def done(self, worker: int, chunk: int) -> None:
        """The chunk is whole. Raises KeyError where the worker does not hold it."""
        del self._held[worker][chunk]

    def lost(self, worker: int) -> tuple[int, ...]:
        """The worker is gone: the chunks that it held, which wait again, first of all."""
        held = self._held.pop(worker, {})
        for chunk, model in reversed(held.items()):
            self._waiting[model].appendleft(chunk)
        self._losses.update(held.keys())
        return tuple(held)

    def doomed(self) -> tuple[int, ...]:
        """Chunks that as many workers died of as are allowed."""
        return tuple(sorted(chunk for chunk, times in self._losses.items() if times >= MOST_LOSSES))

    def model_for(self, serving: Sequence[str]) -> str | None:
        """The model that a further worker should load, beside workers that serve these; None: no chunk waits.

        A model that nobody serves comes first, then the one with the most chunks a worker: where there are engines
        enough, each loads one model alone.
        """
        workers = Counter(serving)
        waiting = [model for model, chunks in self._waiting.items() if chunks]
        if not waiting:
            return None
        return max(waiting, key=lambda model: (workers[model] == 0, len(self._waiting[model]) / (workers[model] + 1)))

    @property
    def finished(self) -> bool:
        """Whether no chunk waits and none is held."""
        return not self.waiting and not any(self._held.values())

    @property
    def waiting(self) -> int:
        """Chunks that nobody holds."""
        return sum(len(chunks) for chunks in self._waiting.values())
