"""An S3 server of one test module, with what stands between it and the client: middleware that misbehaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Answer = Iterable[bytes]
Wsgi = Callable[[Environ, StartResponse], Answer]

REGION = "us-east-1"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@dataclass
class Faults:
    """What the middleware does; tests switch it on and off while the server runs."""

    ignore_conditions: bool = False
    """Conditional writes are done unconditionally (seen: JuiceFS's gateway, rclone)."""
    refuse_conditions: bool = False
    """Conditional writes are answered with 501."""
    refuse_copies: bool = False
    """Copies are answered with 501."""
    refuse_credentials: bool = False
    away: int = 0
    """So many of the next requests are answered with 503."""
    break_bodies: int = 0
    """So many of the next object reads end after half of their body."""
    break_every: int = 0
    """Every so many an object read ends after half of its body."""
    broken: int = 0
    """Object reads that did, of either kind."""
    only: str = ""
    """The three are of requests whose path ends so."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(method, path with query, headers) of every request that came."""
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _reads: int = 0

    def take(self, counted: str) -> bool:
        """Whether one is left, which is taken: requests come at once."""
        with self._counting:
            left = getattr(self, counted)
            setattr(self, counted, max(0, left - 1))
            return bool(left > 0)

    def breaks(self) -> bool:
        """Whether the object read that came ends early."""
        taken = self.take("break_bodies")
        with self._counting:
            self._reads += 1
            taken = taken or bool(self.break_every and self._reads % self.break_every == 0)
            self.broken += taken
        return taken


@dataclass
class S3Server:
    endpoint: str
    faults: Faults


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A moto server on loopback behind the middleware."""
    faults = Faults()
    app = _middleware(DomainDispatcherApplication(create_backend_app), faults)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield S3Server(f"http://127.0.0.1:{server.server_port}", faults)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _middleware(app: Wsgi, faults: Faults) -> Wsgi:
    def handle(environ: Environ, start: StartResponse) -> Answer:
        headers = {key: str(value) for key, value in environ.items() if key.startswith("HTTP_")}
        query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
        faults.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"] + query, headers))
        if faults.refuse_credentials:
            return _error(start, "403 Forbidden", "InvalidAccessKeyId")
        meant = environ["PATH_INFO"].endswith(faults.only)
        if meant and faults.take("away"):
            return _error(start, "503 Service Unavailable", "ServiceUnavailable")
        if faults.refuse_conditions and "HTTP_IF_NONE_MATCH" in environ:
            return _error(start, "501 Not Implemented", "NotImplemented")
        if faults.refuse_copies and "HTTP_X_AMZ_COPY_SOURCE" in environ:
            return _error(start, "501 Not Implemented", "NotImplemented")
        if faults.ignore_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        answer = app(environ, start)
        is_object = environ["REQUEST_METHOD"] == "GET" and not query and environ["PATH_INFO"].count("/") > 1
        if is_object and meant and faults.breaks():
            return _half(answer)
        return answer

    return handle


def _half(answer: Answer) -> Answer:
    """The first half of a body whose whole length was announced."""
    whole = b"".join(answer)
    yield whole[: len(whole) // 2]


def _error(start: StartResponse, status: str, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the test</Message></Error>".encode()
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]
