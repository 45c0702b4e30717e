"""A small OpenAI-compatible server in this process, whose answers and faults a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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

    def __enter__(self) -> ChatServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

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


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, text, headers = server.reply(self.path, self.headers.get("Authorization"), body)
            if status == 0:
                self.close_connection = True
                return
            data = text.encode()
            self.send_response(status)
            kind = "application/json" if text.startswith(("{", "[")) else "text/html"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler
