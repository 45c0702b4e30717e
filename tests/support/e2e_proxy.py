"""A TCP proxy before the store that can break off: at once, or at a request that a test names."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing resets the connection
BLOCK = 1 << 16


class StoreProxy:
    """Forwards connections to `host:port` from a port of its own. While it is away, every connection is reset."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._trigger: re.Pattern[bytes] | None = None
        self._lock = threading.Lock()
        self._away = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=self._accept, name="store proxy", daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def is_away(self) -> bool:
        return self._away

    def away(self) -> None:
        """Reset what is open, and all that comes."""
        with self._lock:
            self._away, self._trigger = True, None
            found, self._open = self._open, set()
        for connection in found:
            _reset(connection)

    def away_at(self, request: str) -> None:
        """Go away at the first request whose first line matches the regular expression `request`."""
        self._trigger = re.compile(request.encode())

    def back(self) -> None:
        self._away = False

    def close(self) -> None:
        self.away()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            if self._away:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._upstream, timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target, source is client), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):  # reset by either side, or by `away`
            while data := source.recv(BLOCK):
                trigger = self._trigger
                if asks and trigger is not None and trigger.search(data):
                    self.away()
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
            return
        with self._lock:
            self._open -= {source, target}
        for connection in (source, target):
            _reset(connection)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
