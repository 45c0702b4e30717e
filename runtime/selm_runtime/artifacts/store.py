"""The store of artifacts: one interface, two implementations (S3 and a shared file system)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from selm_runtime.contract import ArtifactsConfig
from selm_runtime.errors import InvalidInput


class NotFound(KeyError):
    """No object at this key."""


class Corrupt(Exception):
    """An object whose size or SHA-256 is not what its manifest says."""


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int
    version: str = ""
    """The server's own mark of this content (S3's ETag), where the listing has one: tells change, proves nothing."""


class Store(Protocol):
    """Objects below one URI. Keys are relative to it, with `/` between parts.

    Every method raises InvalidInput where the bucket is missing or the credentials are refused (naming
    `spec.artifacts.uri` or `.credentialsSecretRef`), and TemporaryFailure where the store is away.
    """

    @property
    def uri(self) -> str:
        """The URI that keys are relative to, without a trailing slash."""

    def uri_of(self, key: str) -> str: ...

    def get(self, key: str) -> bytes:
        """A small object whole. Raises NotFound."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write a small object whole or not at all; False: with `if_absent`, it was there.

        Some servers ignore the condition and overwrite: nothing may hang on it but saved work.
        """

    def stat(self, key: str) -> ObjectInfo | None:
        """Size of an object, or None where there is none."""

    def upload(self, path: Path, key: str) -> None:
        """Write a file of any size whole or not at all, in bounded memory."""

    def download(self, key: str, path: Path, *, size: int | None = None, sha256: str | None = None) -> None:
        """Stream an object into `path` by a rename, verified as it streams. Raises NotFound, Corrupt."""

    def read(self, key: str, start: int, size: int) -> bytearray:
        """The object's bytes from `start` on, `size` of them or as many as there are. Raises NotFound."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, in key order."""

    def copy(self, source: str, target: str) -> None:
        """Copy within the store without the bytes passing here. Raises NotFound."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are gone already count as deleted."""

    def abort_unfinished(self, prefix: str, *, older_than_seconds: float = 0.0) -> None:
        """Free what killed uploads below `prefix` left behind; never fails for it."""


def verify(uri: str, found_size: int, found_sha256: str, *, size: int | None, sha256: str | None) -> None:
    """Raise Corrupt unless what was read is what was announced; None is not checked."""
    if size is not None and found_size != size:
        raise Corrupt(f"{uri} has {found_size} bytes, its manifest says {size}")
    if sha256 is not None and found_sha256 != sha256:
        raise Corrupt(f"{uri} has SHA-256 {found_sha256}, its manifest says {sha256}")


def open_store(artifacts: ArtifactsConfig) -> Store:
    """The store of `spec.artifacts`. Nothing is asked of it yet."""
    return open_uri(artifacts.uri, endpoint=artifacts.endpoint, region=artifacts.region, field="spec.artifacts.uri")


def open_uri(uri: str, *, endpoint: str | None = None, region: str | None = None, field: str) -> Store:
    """A store at an `s3://` or `file://` URI; `field` is the SELMRun's field that errors name.

    A source (`spec.model.uri`, `spec.data.uri`) at `s3://` is read with the endpoint and credentials of
    `spec.artifacts`.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        from selm_runtime.artifacts.s3_store import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), endpoint=endpoint, region=region, field=field)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        from selm_runtime.artifacts.file_store import FileStore

        return FileStore(Path(unquote(parts.path)), field=field)
    raise InvalidInput(
        "InvalidURI", f"{field}: found {uri!r}, allowed are s3://<bucket>[/<prefix>] and file:///<absolute path>"
    )
