"""The store on S3, by boto3: any server that speaks it, with what servers differ in worked around."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from urllib3.exceptions import HTTPError

from selm_runtime.artifacts.s3_errors import (
    CONDITION_FAILED,
    CONDITION_RACED,
    NOT_IMPLEMENTED,
    RANGE_BEYOND,
    Where,
    code_of,
    s3_errors,
    status_of,
)
from selm_runtime.artifacts.store import NotFound, ObjectInfo, verify
from selm_runtime.errors import STORE_UNAVAILABLE, InvalidInput, TemporaryFailure

PART_BYTES = 64 << 20
"""Small parts cost requests, and some servers read the whole object for each ranged read."""
LARGEST_SINGLE_COPY = 5 << 30
"""S3's limit for CopyObject; beyond it the copy goes by parts."""
COPY_PART_BYTES = 512 << 20
MOST_PARTS = 9_000  # S3 allows 10,000
MOST_ATTEMPTS = 6
CONNECT_SECONDS = 10
READ_SECONDS = 60
"""How long a server that took the request may be silent."""
_PARALLEL_PARTS = 4
_READ_BYTES = 4 << 20
_READS = 5
_BROKEN_STREAM = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, HTTPError, ConnectionError)

_log = logging.getLogger(__name__)


class S3Store:
    """Implements `Store` below `s3://<bucket>/<prefix>`.

    Without `endpoint` the environment's AWS_ENDPOINT_URL counts, then AWS itself. Endpoints of one's own are
    addressed by path, since a bucket's name is rarely a host there. Digests are our own: the servers' checksums
    are asked for only where the protocol needs them (some break ranged reads with them).
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        field: str = "spec.artifacts.uri",
        single_copy_bytes: int = LARGEST_SINGLE_COPY,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._region = region
        self._where = Where(field, bucket, self._endpoint or "AWS")
        self._single_copy_bytes = single_copy_bytes
        self._conditions_implemented = True
        self._making_client = threading.Lock()
        self._made_client: Any = None

    @property
    def uri(self) -> str:
        return "/".join(part for part in (f"s3://{self._bucket}", self._prefix) if part)

    def uri_of(self, key: str) -> str:
        return f"{self.uri}/{key}"

    @property
    def _client(self) -> Any:
        """Made at first use, once for all threads."""
        with self._making_client:
            if self._made_client is None:
                self._made_client = self._make_client()
            return self._made_client

    def _make_client(self) -> Any:
        session = boto3.session.Session()
        config = Config(
            retries={"mode": "adaptive", "total_max_attempts": MOST_ATTEMPTS},
            response_checksum_validation="when_required",
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path" if self._endpoint else "auto"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=32,
        )
        try:
            return session.client(
                "s3",
                endpoint_url=self._endpoint,
                region_name=self._region or session.region_name or "us-east-1",
                config=config,
            )
        except ValueError as error:
            raise InvalidInput(
                "InvalidEndpoint", f"spec.artifacts.endpoint: found {self._endpoint!r}, allowed is a URL ({error})"
            ) from error

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        with s3_errors(self._where, key):
            yield

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._full(key)}

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _relative(self, full: str) -> str:
        return full.removeprefix(f"{self._prefix}/") if self._prefix else full

    def get(self, key: str) -> bytes:
        with self._errors(key):
            for attempt in range(_READS):
                try:
                    return bytes(self._client.get_object(**self._object(key))["Body"].read())
                except _BROKEN_STREAM:
                    if attempt == _READS - 1:
                        raise
        raise AssertionError("the loop returns or raises")

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        with self._errors(key):
            if not if_absent:
                self._client.put_object(**self._object(key), Body=data)
                return True
            return self._put_if_absent(key, data)

    def _put_if_absent(self, key: str, data: bytes) -> bool:
        while self._conditions_implemented:
            try:
                self._client.put_object(**self._object(key), Body=data, IfNoneMatch="*")
                return True
            except ClientError as error:
                code, status = code_of(error), status_of(error)
                if code in CONDITION_FAILED or status == 412:
                    return False
                if code in CONDITION_RACED:
                    continue  # another writer is at it: ask again, it has won or given up
                if code not in NOT_IMPLEMENTED:
                    raise
                _log.info("%s does not implement conditional writes", self._where.endpoint)
                self._conditions_implemented = False
        if self.stat(key) is not None:
            return False
        self._client.put_object(**self._object(key), Body=data)
        return True

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            with self._errors(key):
                return ObjectInfo(key, int(self._client.head_object(**self._object(key))["ContentLength"]))
        except NotFound:
            return None

    def upload(self, path: Path, key: str) -> None:
        size = path.stat().st_size
        part = max(PART_BYTES, -(-size // MOST_PARTS))
        transfer = TransferConfig(
            multipart_threshold=part, multipart_chunksize=part, max_concurrency=_PARALLEL_PARTS, use_threads=size > part
        )
        with self._errors(key):
            self._client.upload_file(str(path), self._bucket, self._full(key), Config=transfer)

    def download(self, key: str, path: Path, *, size: int | None = None, sha256: str | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".unfinished-{uuid.uuid4().hex}")
        try:
            with self._errors(key), unfinished.open("wb") as target:
                digest = hashlib.sha256()
                for block in self._stream(key):
                    digest.update(block)
                    target.write(block)
                count = target.tell()
            verify(self.uri_of(key), count, digest.hexdigest(), size=size, sha256=sha256)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def read(self, key: str, start: int, size: int) -> bytearray:
        found = bytearray()
        with self._errors(key):
            try:
                for block in self._stream(key, start, start + size):
                    found += block
            except ClientError as error:
                if code_of(error) not in RANGE_BEYOND:  # the object ends before `start`
                    raise
        return found

    def _stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The object's blocks in order, of a range where one is given; a connection that breaks is taken up where it
        broke.
        """
        done, etag = start, None
        for attempt in range(_READS):
            ranged = {"Range": f"bytes={done}-{'' if end is None else end - 1}"} if done or end is not None else {}
            condition: dict[str, str] = {"IfMatch": etag} if etag else {}
            try:
                answer = self._client.get_object(**self._object(key), **ranged, **condition)
                if ranged and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                    raise TemporaryFailure(
                        STORE_UNAVAILABLE, f"{self._where.endpoint} does not serve ranges: asked for a part of {key!r}"
                    )
                etag = answer["ETag"]
                for block in answer["Body"].iter_chunks(_READ_BYTES):
                    done += len(block)
                    yield block
                return
            except _BROKEN_STREAM as error:
                if done == end:
                    return  # broken behind the last byte that was asked for
                if attempt == _READS - 1:
                    raise
                _log.warning("reading %s broke after %d bytes (%s), going on from there", key, done, error)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._full(prefix)
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield ObjectInfo(self._relative(found["Key"]), int(found["Size"]), str(found.get("ETag", "")))

    def copy(self, source: str, target: str) -> None:
        transfer = TransferConfig(
            multipart_threshold=self._single_copy_bytes,
            multipart_chunksize=min(COPY_PART_BYTES, self._single_copy_bytes),
        )
        with self._errors(source):
            try:
                self._client.copy(self._object(source), self._bucket, self._full(target), Config=transfer)
            except ClientError as error:
                if code_of(error) not in NOT_IMPLEMENTED:
                    raise
                _log.info("%s does not implement copies: %s passes through here", self._where.endpoint, source)
                with tempfile.TemporaryDirectory(prefix="selm-copy-") as folder:
                    passing = Path(folder, "object")
                    self.download(source, passing)
                    self.upload(passing, target)

    def delete(self, keys: Iterable[str]) -> None:
        # One by one: bulk deletion asks for a checksum header that servers disagree on.
        for key in keys:
            with self._errors(key):
                self._client.delete_object(**self._object(key))

    def abort_unfinished(self, prefix: str, *, older_than_seconds: float = 0.0) -> None:
        before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        try:
            with self._errors(prefix):
                pages = self._client.get_paginator("list_multipart_uploads").paginate(
                    Bucket=self._bucket, Prefix=self._full(prefix)
                )
                for page in pages:
                    for found in page.get("Uploads", ()):
                        if found["Initiated"] <= before:
                            self._client.abort_multipart_upload(
                                Bucket=self._bucket, Key=found["Key"], UploadId=found["UploadId"]
                            )
        except (NotFound, InvalidInput, TemporaryFailure) as error:
            # They cost space, not correctness: servers without this listing keep them until they expire.
            _log.info("cannot look for unfinished uploads under %s: %s", prefix, error)
