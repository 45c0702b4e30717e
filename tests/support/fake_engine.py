"""An engine without a model: what it answers is a function of prompt and seed, and it counts what it was asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from selm_runtime.artifacts.store import open_store
from selm_runtime.artifacts.stream import read_weights
from selm_runtime.engine import Completion, EngineSettings, Request, Sampling
from selm_runtime.errors import InvalidInput, TemporaryFailure


class FakeEngine:
    """Every request needs as many steps as its response has tokens; at most `slots` run at once."""

    def __init__(
        self,
        *,
        slots: int = 4,
        eos: int = 2,
        on_step: Callable[[], None] | None = None,
        capacity: int = 20,
        salt: str = "",
    ) -> None:
        self.asked: list[Request] = []
        self.forgotten = 0
        self.most_unfinished = 0
        self.closed = False
        self._slots = slots
        self._eos = eos
        self._on_step = on_step
        self._model_salt = salt
        self.capacity = capacity
        self._running: dict[str, tuple[Request, int]] = {}

    def submit(self, request: Request) -> None:
        assert request.key not in self._running
        self.asked.append(request)
        self._running[request.key] = (request, len(self.answer(request)))
        self.most_unfinished = max(self.most_unfinished, len(self._running))

    def step(self) -> list[Completion]:
        if self._on_step is not None:
            self._on_step()
        done = []
        for key in list(self._running)[: self._slots]:
            request, left = self._running[key]
            self._running[key] = (request, left - 1)
            if left == 1:
                del self._running[key]
                ids = self.answer(request)
                done.append(Completion(key, tuple(ids), "stop" if ids[-1] == self._eos else "length"))
        return done

    @property
    def unfinished(self) -> int:
        return len(self._running)

    def forget(self) -> None:
        assert not self._running
        self.forgotten += 1

    def close(self) -> None:
        self.closed = True

    def answer(self, request: Request) -> Sequence[int]:
        """Two to nine tokens of the tiny tokenizer's bytes; most end with EOS, a few are cut."""
        digest = hashlib.sha256(f"{self._model_salt}{list(request.prompt_ids)} {request.seed}".encode()).digest()
        ids = [10 + value % 200 for value in digest[1 : 2 + digest[0] % 8]]
        return ids if digest[0] % 5 == 0 else [*ids, self._eos]


def engine_in_a_process(settings: EngineSettings, _: Sampling) -> FakeEngine:
    """For processes, which find it by its name; what it answers differs between models of different names."""
    if "refuse" in settings.engine_args:
        raise InvalidInput("EngineArgsRefused", "spec.generation.engineArgs.refuse: no")
    if "away" in settings.engine_args:
        raise TemporaryFailure("StoreUnavailable", "the store does not answer")
    if "crash" in settings.engine_args:
        raise OSError("no device")
    return FakeEngine(salt=weights_of(settings.model))


def streamed_engine_in_a_process(settings: EngineSettings, _: Sampling) -> FakeEngine:
    """Answers as the one above does of the same model, whose weights it reads from the store."""
    assert settings.streamed is not None
    streamed, artifacts = settings.streamed
    ((_, parts),) = ((file, b"".join(parts)) for file, parts in read_weights(open_store(artifacts), streamed.files))
    return FakeEngine(salt=hashlib.sha256(parts).hexdigest())


def weights_of(model: Path) -> str:
    """What tells models apart here."""
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
