"""A proxy in front of an API server that writes down what is asked of it, in the words of RBAC."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from selm_local.apiserver.access import Attributes
from selm_local.apiserver.web import route

HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding", "content-length", "host"}


@dataclass(frozen=True)
class Asked:
    """A request for a resource: what a rule must allow, and the answer's status."""

    what: Attributes
    status: int


class ApiRecorder:
    """Forwards to `server`, whose certificate `authority` signed; serves with that server's own certificate."""

    def __init__(self, server: str, authority: Path, certificate: Path, key: Path) -> None:
        self.server = server
        self.upstream = ssl.create_default_context(cafile=str(authority))
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(certificate, key)
        self.asked: list[Asked] = []
        self.port = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """In a thread of its own, until the end of the block."""
        loop = asyncio.new_event_loop()
        ready, stop = threading.Event(), asyncio.Event()

        async def serve() -> None:
            async with ClientSession(
                connector=TCPConnector(ssl=self.upstream, limit=0),
                timeout=ClientTimeout(total=None),
                auto_decompress=False,
            ) as self.session:
                app = web.Application(client_max_size=16 * 1024**2)
                app.router.add_route("*", "/{path:.*}", self.forward)
                runner = web.AppRunner(app, shutdown_timeout=1)
                await runner.setup()
                site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls)
                await site.start()
                self.port = runner.addresses[0][1]
                ready.set()
                await stop.wait()
                await runner.cleanup()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        assert ready.wait(30)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(30)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        async with self.session.request(
            request.method, self.server + request.raw_path, headers=headers, data=await request.read()
        ) as answer:
            self.record(request, answer.status)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            if encoding := answer.headers.get("Content-Encoding"):
                response.headers["Content-Encoding"] = encoding
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    def record(self, request: web.Request, status: int) -> None:
        parts = [part for part in request.path.split("/") if part]
        target = route.target(request.method, parts, request.query) if len(parts) > 2 else None
        if target is not None:
            what = Attributes(target.verb, target.group, target.resource_text, target.namespace, target.name or "")
            self.asked.append(Asked(what, status))
