"""moto's objects and uploads with their bodies on disk.

moto's S3 keeps every body in memory (spooled to a nameless file above a limit) and reads the whole of it for every
ranged read. These two classes take the places of `moto.s3.models.FakeKey` and `FakeMultipart`; all else of moto's S3
works on them unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

from moto.s3 import models
from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML
from moto.s3.utils import compute_checksum

from selm_local.s3.bodies import Bodies, BodyView

PART_MINIMUM = 5 << 20
"""Bytes of every part but the last (S3's own limit)."""


class StoredBody:
    """A body that lies on disk already: what `DiskMultipart.complete` hands to the object made of it."""

    def __init__(self, body: str, size: int) -> None:
        self.body, self.size = body, size

    def __len__(self) -> int:
        return self.size


class DiskKey(models.FakeKey):
    """An object (or a part of an upload) whose body is a file. `body`: its id in `bodies`."""

    bodies: ClassVar[Bodies]
    body: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._value_buffer.close()

    @property
    def value(self) -> Any:
        """A BodyView, or `b""`."""
        return self.bodies.view(self.body)

    @value.setter
    def value(self, new: Any) -> None:
        """`new`: bytes or text from a request, a BodyView (copied object), a BodyRange (part of one), a StoredBody."""
        self.contentsize = len(new)
        if isinstance(new, StoredBody):
            self.body = new.body
            return
        if isinstance(new, BodyView):
            self.body = self.bodies.link(new.body)
            return
        if isinstance(new, str):
            new = new.encode()
        chunks = [memoryview(new)] if isinstance(new, bytes) else new
        digest = hashlib.md5(usedforsecurity=False)

        def passing() -> Iterator[bytes | memoryview]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk

        self.body = self.bodies.write(passing())
        if self._etag is None:
            self._etag = digest.hexdigest()

    @property
    def etag(self) -> str:
        if self._etag is None:
            self._etag = hashlib.md5(self.value, usedforsecurity=False).hexdigest()
        return f'"{self._etag}"'

    def dispose(self, garbage: bool = False) -> None:  # noqa: ARG002 - moto's signature
        """Nothing: bodies are removed by the store, after the record that named them."""
        self.disposed = True

    def __del__(self) -> None:
        pass


class DiskMultipart(models.FakeMultipart):
    """A multipart upload whose parts are files."""

    def complete(self, body: Iterator[tuple[int, str]]) -> tuple[Any, str, tuple[str, str, int] | None]:
        """Join the named parts. Returns the body, its ETag, and type, value and parts of its checksum."""
        parts: list[Any] = []
        digests = bytearray()
        for number, etag in body:
            part = self.parts.get(number)
            if part is None or part.etag.strip('"') != etag.strip('"'):
                raise InvalidPart()
            if parts and parts[-1].contentsize < PART_MINIMUM:
                raise EntityTooSmall()
            digests.extend(bytes.fromhex(part.etag.strip('"')))
            parts.append(part)
        if not parts:
            raise MalformedXML
        joined = DiskKey.bodies.concatenate([part.body for part in parts])
        stored = StoredBody(joined, sum(part.contentsize for part in parts))
        etag = f"{hashlib.md5(bytes(digests), usedforsecurity=False).hexdigest()}-{len(parts)}"
        return stored, etag, self._checksum(parts, joined)

    def _checksum(self, parts: list[Any], joined: str) -> tuple[str, str, int] | None:
        """What the client asked for when it began the upload; nothing where it asked for nothing."""
        algorithm = self.metadata.get("x-amz-checksum-algorithm")
        if not algorithm:
            return None
        kind = self.metadata.get("x-amz-checksum-type") or ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
        if kind == "COMPOSITE":
            of_parts = b"".join(compute_checksum(part.value, algorithm, encode_base64=False) for part in parts)
            return kind, compute_checksum(of_parts, algorithm).decode(), len(parts)
        whole: Any = DiskKey.bodies.view(joined)
        return kind, compute_checksum(whole, algorithm).decode(), 1
