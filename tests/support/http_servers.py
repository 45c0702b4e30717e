"""HTTP servers in this process for tests: started on a free port of the loopback, stopped at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STOP_SECONDS = 10


class QuietHandler(BaseHTTPRequestHandler):
    """A request handler that logs nothing and sends whole answers."""

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def body(self) -> bytes:
        """The request's body; empty where it has none."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        """Send an answer, without its body to a HEAD request; `headers` may say another Content-Length."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server, `http://127.0.0.1:<port>`, that answers by this handler, each request in its own thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(STOP_SECONDS)
