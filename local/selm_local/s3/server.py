"""The store's daemon: moto's S3 application behind a threaded server on loopback (`python -m selm_local s3`)."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from moto.s3.responses import S3Response
from werkzeug.serving import BaseWSGIServer, make_server

from selm_local.s3.access import enforce, load_credentials
from selm_local.s3.store import Store

HOST = "127.0.0.1"
LARGE_BODY = 8 << 20
LARGE_BODIES_AT_ONCE = 3
"""moto holds a request's body in memory about three times over: more than these wait for their turn."""
_KEPT = frozenset({"uploads", "uploadId", "partNumber", "delete", "tagging", "x-id"})
_log = logging.getLogger(__name__)
Answer = tuple[int, dict[str, str], Any]


class Gate:
    """Stands before moto's handlers: one request changes or reads its state at a time, and changes go to disk.

    The lock is not held while a body is received or sent. A request is answered only when its change is on disk.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._large = threading.BoundedSemaphore(LARGE_BODIES_AT_ONCE)
        # The originals, bound at construction: wrapping twice would take the lock twice.
        self._on_key = S3Response.key_response
        self._on_bucket = S3Response.bucket_response

    def install(self) -> None:
        """Put this gate before moto's S3 handlers, for the whole process."""
        gate = self

        def key_response(response: S3Response, request: Any, full_url: str, headers: Any) -> Answer:
            return gate._pass(request, lambda: gate._key(response, request, full_url, headers))

        def bucket_response(response: S3Response, request: Any, full_url: str, headers: Any) -> Answer:
            return gate._pass(request, lambda: gate._bucket(response, request, full_url, headers))

        for name, replacement in (("key_response", key_response), ("bucket_response", bucket_response)):
            setattr(S3Response, name, replacement)

    def _pass(self, request: Any, handle: Callable[[], Answer]) -> Answer:
        query = dict(parse_qsl(urlsplit(request.raw_url).query, keep_blank_values=True))
        if "Authorization" not in request.headers:
            return _refusal(403, "AccessDenied", "Requests must be signed; presigned URLs are not supported here.")
        if request.method in ("PUT", "POST", "DELETE") and (unknown := sorted(set(query) - _KEPT)):
            text = f"{request.method} with ?{'&'.join(unknown)} is not supported here: it would not survive a restart."
            return _refusal(501, "NotImplemented", text)
        if (request.content_length or 0) <= LARGE_BODY:
            request.get_data()
            with self._lock:
                return handle()
        with self._large:
            request.get_data()
            with self._lock:
                return handle()

    def _key(self, response: S3Response, request: Any, full_url: str, headers: Any) -> Answer:
        answer: Answer = self._on_key(response, request, full_url, headers)
        if request.method in ("PUT", "POST", "DELETE") and answer[0] < 300:
            bucket, key = response.bucket_name, response.parse_key_name()
            query = dict(parse_qsl(urlsplit(full_url).query, keep_blank_values=True))
            if "uploads" in query:
                # The newest upload is the one that this request began.
                self._store.sync_upload(bucket, next(reversed(self._store.backend.buckets[bucket].multiparts)))
            else:
                if "partNumber" not in query:
                    self._store.sync_object(bucket, key)
                if "uploadId" in query:
                    self._store.sync_upload(bucket, query["uploadId"])
        return answer

    def _bucket(self, response: S3Response, request: Any, full_url: str, headers: Any) -> Answer:
        bucket = urlsplit(request.raw_url).path.strip("/").split("/")[0]
        changing = request.method in ("PUT", "POST", "DELETE")
        before = self._store.keys(bucket) if changing else set()
        answer: Answer = self._on_bucket(response, request, full_url, headers)
        if changing and answer[0] < 300:
            for key in before - self._store.keys(bucket):
                self._store.sync_object(bucket, key)
            if request.method != "POST":
                self._store.sync_bucket(bucket)
        return answer


def _refusal(status: int, code: str, message: str) -> Answer:
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    body = f"{declaration}<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return status, {"Content-Type": "application/xml"}, body


class _QuietHandler(MotoRequestHandler):
    """HTTP/1.1 with connections kept, and only failures in the log."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 - the base class's
        if str(code).startswith("5"):
            _log.warning("%s %s: %s", self.command, self.path, code)


def make_store_server(root: Path, port: int) -> BaseWSGIServer:
    """The server, listening, its objects loaded.

    Raises:
        OSError: the port is taken.
    """
    root.mkdir(parents=True, exist_ok=True)
    store = Store(root)
    enforce(load_credentials(root))
    count = store.load()
    Gate(store).install()
    app = create_backend_app("s3")
    app.debug = False
    server = make_server(HOST, port, app, threaded=True, request_handler=_QuietHandler)
    _log.info("serving %d objects on http://%s:%s", count, HOST, server.server_port)
    return server


def serve(root: Path, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = make_store_server(root, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
