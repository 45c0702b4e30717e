"""One engine for all that Evaluation generates: its start may take longer than the answers do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selm_runtime.generate.loop import RequestEngine
from selm_runtime.generate.shard import engine_settings, start_engine
from selm_runtime.phase import PhaseContext


@dataclass(frozen=True)
class Room:
    """Tokens that a prompt and its response may have."""

    prompt: int
    response: int

    @property
    def tokens(self) -> int:
        """Of both together: what an engine's sequences are bounded by."""
        return self.prompt + self.response


def shared_room(room: Room, rooms: Sequence[Room], long_from: int | None) -> Room:
    """The room of the engine that serves `room`: the largest of all `rooms` that may share an engine with it.

    All of them count, also those whose responses are there already: a repeated attempt has the same engine, and what vLLM
    chooses by its length (steps without chunked prefill, kernels of captured graphs) is chosen alike. `long_from`: see
    `long_rope_from`; sequences on both sides of it cannot share.
    """
    long = long_from is not None and room.tokens > long_from
    alike = [other for other in rooms if (long_from is not None and other.tokens > long_from) == long]
    return max(alike, key=lambda other: other.tokens)


def long_rope_from(model: Path) -> int | None:
    """Where LongRoPE (Ding et al. 2024, 2402.13753) changes its factors, in tokens; None for models without it.

    vLLM takes the long factors for all sequences of an engine that allows longer ones; training and transformers take them
    for these alone. So held-out responses must not depend on how long a suite's answers may be.
    """
    config = json.loads((model / "config.json").read_text())
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) not in ("longrope", "su"):
        return None
    original = rope.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))
    return original if isinstance(original, int) else None


class SharedEngine:
    """The engine of the model in a folder, started when it is first asked for; `close` frees what it holds."""

    def __init__(self, ctx: PhaseContext, model: Path, eos_token_id: int | None, rooms: Sequence[Room]) -> None:
        """`rooms`: of everything that will be asked of it."""
        self._ctx, self._model, self._eos_token_id, self._rooms = ctx, model, eos_token_id, rooms
        self._engine: RequestEngine | None = None
        self._room: Room | None = None

    def of(self, room: Room) -> RequestEngine:
        """An engine with at least this room, one of `rooms`. It is the same for all, but where `long_rope_from` has a say."""
        wanted = shared_room(room, self._rooms, long_rope_from(self._model))
        if self._engine is None or wanted != self._room:
            self.close()
            settings = engine_settings(self._ctx, self._model)
            settings = replace(settings, max_prompt_tokens=wanted.prompt, max_new_tokens=wanted.response)
            self._engine = start_engine(self._ctx, settings, self._eos_token_id)
            self._room = wanted
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
