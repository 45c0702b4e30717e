"""A small OpenAI-compatible server in this process, whose answers and faults a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from support.http_servers import QuietHandler, serving

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Fault:
    """An answer that is none: a status, a body, headers. Status 0 closes the connection without a word."""

    status: int
    body: str = '{"error": {"message": "no"}}'
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ChatServer:
    """`answer(messages)` makes each reply's text or a Fault; `seen` holds the requests' bodies, in order."""

    answer: Callable[[Messages], str | Fault]
    key: str | None = None
    usage: bool = True
    seen: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _serving: ExitStack = field(default_factory=ExitStack)
    _address: str = ""

    def __enter__(self) -> ChatServer:
        self._address = self._serving.enter_context(serving(_handler(self)))
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.close()

    @property
    def url(self) -> str:
        return f"{self._address}/v1"

    def reply(self, path: str, authorization: str | None, body: dict[str, Any]) -> tuple[int, str, Mapping[str, str]]:
        """Status, body and headers for a request."""
        with self._lock:
            self.seen.append(body)
        if path != "/v1/chat/completions":
            return 404, '{"error": {"message": "no such path"}}', {}
        if self.key is not None and authorization != f"Bearer {self.key}":
            return 401, '{"error": {"message": "wrong key"}}', {}
        made = self.answer(body["messages"])
        if isinstance(made, Fault):
            return made.status, made.body, made.headers
        message = {"role": "assistant", "content": made}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        if body.get("logprobs"):
            tops = [{"token": made[:1], "logprob": -0.1, "bytes": None}, {"token": "?", "logprob": -2.5, "bytes": None}]
            choice["logprobs"] = {
                "content": [{"token": made[:1], "logprob": -0.1, "bytes": None, "top_logprobs": tops}]
            }
        answer = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        if self.usage:
            answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return 200, json.dumps(answer), {}


def _handler(server: ChatServer) -> type[QuietHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.body())
            status, text, headers = server.reply(self.path, self.headers.get("Authorization"), asked)
            if status == 0:
                self.close_connection = True
                return
            kind = "application/json" if text.startswith(("{", "[")) else "text/html"
            self.answer(status, {"Content-Type": kind, **headers}, text.encode())

    return Handler
