"""A registry of the OCI distribution specification in one process: uploads by POST and PUT, manifests, Basic or tokens.

It takes a manifest only where its blobs are there, and a blob only where its digest is the announced one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from support.http_servers import QuietHandler, serving

USER, PASSWORD = "pusher", "secret-of-the-pusher"
IDENTITY = "identity-of-the-pusher"
TOKEN = "token-for-this-repository"


@dataclass
class FakeRegistry:
    host: str = ""
    auth: str = ""
    """"" (whoever comes), `Basic` or `Bearer`."""
    names: tuple[str, ...] | None = None
    """Repositories that are there; None: a push makes one."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Of all blobs; the content of one that is larger than `keeps` bytes is not kept."""
    keeps: int = 8 << 20
    manifests: dict[str, bytes] = field(default_factory=dict)
    """By `name:tag`."""
    requests: list[str] = field(default_factory=list)
    holds_at: int | None = None
    """After so many bytes of an upload `held` is set, and nothing more is read until `goes_on` is."""
    held: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)
    fails: dict[str, list[int]] = field(default_factory=dict)
    """By a part of a request's line: the statuses that the next ones are answered with; 0: the connection breaks."""
    upload_host: str | None = None
    """Where uploads are led to instead of here, as `scheme://host`."""
    store_host: str | None = None
    """Where requests for a blob that is there are led to, as `scheme://host`: `/stored/<digest>` below it."""
    shown: list[str] = field(default_factory=list)
    """Credentials that came with requests for what is stored."""
    stored_head: int = 200
    """What HEAD of what is stored is answered with: 403 where links are made for GET alone."""
    redirects: str | None = None
    """Where whoever begins an upload is sent, as `scheme://host`."""
    loses_answers: int = 0
    """So many uploads are taken, and the connection breaks before the answer."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self) -> list[str]:
        """What was written: uploads and manifests."""
        return [line for line in self.requests if line.startswith("PUT")]


class _Handler(QuietHandler):
    registry: FakeRegistry
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)

    def _refuse(self, status: int, code: str, **headers: str) -> None:
        # A body may not have been read; a client that is not told would send its next request into the closing connection.
        said = json.dumps({"errors": [{"code": code, "message": code.replace("_", " ").lower()}]}).encode()
        self._answer(status, said, Connection="close", **headers)

    def _handle(self) -> None:
        registry, parts = self.registry, urlsplit(self.path)
        line = f"{self.command} {parts.path}"
        with registry.lock:
            registry.requests.append(line)
            forced = next((known for part, known in registry.fails.items() if part in line and known), None)
            status = forced.pop(0) if forced else None
        if status == 0:
            self.close_connection = True
            return
        if status is not None:
            self._refuse(status, "TOLD")
        elif parts.path.startswith("/stored/"):
            registry.shown += [shown] if (shown := self.headers.get("Authorization")) else []
            self._answer(registry.stored_head if self.command == "HEAD" else 206)
        elif parts.path == "/token":
            self._token()
        elif not self._allowed():
            challenge = {
                "Basic": 'Basic realm="here"',
                "Bearer": f'Bearer realm="http://{registry.host}/token",service="it"',
            }
            self._refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge[registry.auth])
        else:
            self._serve(parts.path.removeprefix("/v2/"), parse_qs(parts.query))

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _allowed(self) -> bool:
        wanted = {"": None, "Basic": _basic(), "Bearer": f"Bearer {TOKEN}"}[self.registry.auth]
        return wanted is None or self.headers.get("Authorization") == wanted

    def _token(self) -> None:
        body = self.body().decode()
        refreshed = parse_qs(body).get("refresh_token") == [IDENTITY]
        if refreshed or self.headers.get("Authorization") == _basic():
            self._answer(200, json.dumps({"token": TOKEN}).encode())
        else:
            self._refuse(401, "UNAUTHORIZED")

    def _serve(self, path: str, query: dict[str, list[str]]) -> None:
        registry = self.registry
        name, kind, rest = _split(path)
        if registry.names is not None and name not in registry.names and self.command != "HEAD":
            self._refuse(404, "NAME_UNKNOWN")
        elif kind == "blobs" and self.command in ("HEAD", "GET") and registry.store_host and rest in registry.sizes:
            self._answer(307, Location=f"{registry.store_host}/stored/{rest}?signature=x")
        elif kind == "blobs" and self.command == "HEAD":
            self._answer(200 if rest in registry.sizes else 404)
        elif kind == "blobs" and self.command == "POST" and registry.redirects:
            self._answer(308, Location=f"{registry.redirects}{self.path}")
        elif kind == "blobs" and self.command == "POST":
            here = registry.upload_host or ""
            self._answer(202, Location=f"{here}/v2/{name}/blobs/uploads/u1?_state=a%2Bb")
        elif kind == "blobs":
            self._take(query["digest"][0])
        elif self.command == "PUT":
            self._tag(f"{name}:{rest}")
        elif f"{name}:{rest}" in registry.manifests:
            self._answer(200, registry.manifests[f"{name}:{rest}"])
        else:
            self._refuse(404, "MANIFEST_UNKNOWN")

    def _take(self, digest: str) -> None:
        registry, size = self.registry, int(self.headers["Content-Length"])
        done, found, body = 0, hashlib.sha256(), bytearray()
        while done < size:
            if registry.holds_at is not None and done >= registry.holds_at:
                registry.held.set()
                registry.goes_on.wait(60)
            piece = self.rfile.read1(min(size - done, 1 << 16))
            if not piece:
                return  # the client is gone: nothing is kept
            done += len(piece)
            found.update(piece)
            if size <= registry.keeps:
                body += piece
        if digest != f"sha256:{found.hexdigest()}":
            self._refuse(400, "DIGEST_INVALID")
            return
        registry.sizes[digest] = size
        if size <= registry.keeps:
            registry.blobs[digest] = bytes(body)
        if registry.loses_answers:
            registry.loses_answers -= 1
            self.close_connection = True
            return
        self._answer(201)

    def _tag(self, place: str) -> None:
        body = self.body()
        manifest = json.loads(body)
        blobs = [manifest["config"], *manifest["layers"]]
        if any(self.registry.sizes.get(blob["digest"]) != blob["size"] for blob in blobs):
            self._refuse(404, "MANIFEST_BLOB_UNKNOWN")
            return
        self.registry.manifests[place] = body
        self._answer(201)


def _basic() -> str:
    return f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


def _split(path: str) -> tuple[str, str, str]:
    for kind in ("blobs", "manifests"):
        name, found, rest = path.partition(f"/{kind}/")
        if found:
            return name, kind, rest
    raise AssertionError(path)


@contextmanager
def fake_registry(auth: str = "") -> Iterator[FakeRegistry]:
    registry = FakeRegistry(auth=auth)
    with serving(type("Handler", (_Handler,), {"registry": registry})) as url:
        registry.host = url.removeprefix("http://")
        yield registry
