"""An embedded API server over HTTP in this process, with the controllers that need no node; for synchronous clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from selm_local.apiserver.registry import Registry
from selm_local.apiserver.web.app import ApiServer
from selm_local.controllers.garbage import GarbageCollector
from selm_local.controllers.namespaces import NamespaceController
from selm_local.controllers.quotas import QuotaController
from support.conformance_client import Client

TOKEN = "secret"
START_SECONDS = 30


class _Served:
    """The server in a thread and an event loop of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="served API server", daemon=True)
        self._thread.start()
        assert self._ready.wait(START_SECONDS), "the API server did not start"

    def _run(self) -> None:
        self._main = self._loop.create_task(self._serve())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        self._loop.close()

    async def _serve(self) -> None:
        registry = Registry.open(None)
        server = ApiServer(registry, TOKEN)
        port = await server.start("127.0.0.1", 0)
        controllers = (GarbageCollector, NamespaceController, QuotaController)
        tasks = [asyncio.create_task(controller(registry).run()) for controller in controllers]
        self.url = f"http://127.0.0.1:{port}"
        self._ready.set()
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop()
            registry.close()

    def stop(self) -> None:
        if self._main is not None:
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(START_SECONDS)


@contextlib.contextmanager
def served_api() -> Iterator[Client]:
    """A client with all rights, of a server without state."""
    served = _Served()
    try:
        yield Client(served.url, token=TOKEN)
    finally:
        served.stop()
