"""What the store must remember, as JSON files that are replaced in one step.

    buckets/<bucket>.json                     region, creation date
    objects/<bucket>/<2 hex>/<sha-256>.json   one object: its key, body, ETag, metadata; the hash is the key's
    uploads/<upload id>.json                  one multipart upload in progress and its parts

An object's record names its body, which is complete before. So an object that was acknowledged survives a kill of
the server at any moment; a power cut may cost the last ones, since nothing waits for the disk.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selm_local.state import read_json, write_json

_log = logging.getLogger(__name__)
Record = dict[str, Any]


class Records:
    """The record files under one folder."""

    def __init__(self, root: Path) -> None:
        self._buckets, self._objects, self._uploads = (root / name for name in ("buckets", "objects", "uploads"))
        for folder in (self._buckets, self._objects, self._uploads):
            folder.mkdir(parents=True, exist_ok=True)

    def put_bucket(self, bucket: str, record: Record) -> None:
        write_json(self._buckets / f"{bucket}.json", record)

    def delete_bucket(self, bucket: str) -> None:
        (self._buckets / f"{bucket}.json").unlink(missing_ok=True)
        shutil.rmtree(self._objects / bucket, ignore_errors=True)

    def buckets(self) -> Iterator[tuple[str, Record]]:
        for path in sorted(self._buckets.glob("*.json")):
            yield path.stem, read_json(path) or {}

    def get_object(self, bucket: str, key: str) -> Record | None:
        found: Record | None = read_json(self._path(bucket, key))
        return found

    def put_object(self, bucket: str, key: str, record: Record) -> None:
        path = self._path(bucket, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**record, "key": key})

    def delete_object(self, bucket: str, key: str) -> None:
        self._path(bucket, key).unlink(missing_ok=True)

    def objects(self, bucket: str) -> Iterator[Record]:
        for path in (self._objects / bucket).glob("*/*.json"):
            if not path.name.startswith("."):
                yield read_json(path) or {}

    def get_upload(self, upload: str) -> Record | None:
        found: Record | None = read_json(self._uploads / f"{upload}.json")
        return found

    def put_upload(self, upload: str, record: Record) -> None:
        write_json(self._uploads / f"{upload}.json", record)

    def delete_upload(self, upload: str) -> None:
        (self._uploads / f"{upload}.json").unlink(missing_ok=True)

    def uploads(self) -> Iterator[tuple[str, Record]]:
        for path in self._uploads.glob("*.json"):
            if not path.name.startswith("."):
                yield path.stem, read_json(path) or {}

    def _path(self, bucket: str, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._objects / bucket / name[:2] / f"{name}.json"
