"""Chat requests and replies, as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from selm_runtime.artifacts.manifest import digest_of


@dataclass(frozen=True)
class ChatRequest:
    """One question; `messages` are (role, content) in order. Temperature 0 asks for the likeliest answer.

    `top_logprobs`: how many alternatives of the reply's first token are wanted with their log-probs; 0: none.
    """

    messages: tuple[tuple[str, str], ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    top_logprobs: int = 0

    def key(self, asked: str) -> str:
        """`sha256:<hex>` of all that decides the answer; `asked` says who is asked (endpoint and model)."""
        return digest_of({"asked": asked, **asdict(self)})


@dataclass(frozen=True)
class ChatReply:
    """What came back. Token counts are the endpoint's own; None where it reports none."""

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token: Mapping[str, float] | None = None
    """Log-probs (nats) of the first token's alternatives, by token text."""
    own_temperature: bool = False
    """Whether the endpoint drew it at a temperature of its own, since it takes none."""

    @property
    def tokens(self) -> int | None:
        """Prompt and completion together."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> bytes:
        fields = asdict(self)
        if not self.own_temperature:
            del fields["own_temperature"]  # as it was written before there was such a thing
        return json.dumps(fields, ensure_ascii=False, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> ChatReply:
        """Raises ValueError or TypeError for what `to_json` did not write."""
        fields: dict[str, Any] = json.loads(data)
        return cls(**fields)


class ChatModel(Protocol):
    """Whoever answers chat requests: an endpoint, or a model of our own."""

    @property
    def asked(self) -> str:
        """Who it is, for cache keys: equal requests to equal names may share a reply."""
        ...

    @property
    def refusal(self) -> str:
        """What was last said of a request that was refused, bounded; empty where none was."""
        ...

    def complete(
        self, requests: Sequence[ChatRequest], between: Callable[[], None] = lambda: None
    ) -> list[ChatReply | None]:
        """A reply to each request, in order; None where this one request was refused.

        `between` is called in the caller's thread as replies come in: it may report, or raise to stop.
        """
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...
