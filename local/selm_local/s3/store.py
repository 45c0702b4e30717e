"""Write-through: after every change of moto's state, the same change on disk; at the start, the other way round."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.s3 import models
from requests.structures import CaseInsensitiveDict

from selm_local.s3.bodies import Bodies
from selm_local.s3.diskmodels import DiskKey, DiskMultipart, StoredBody
from selm_local.s3.records import Record, Records

PARTITION = "aws"
_log = logging.getLogger(__name__)


class Store:
    """moto's S3 backend of one account, and its folder. Not thread-safe: the server holds one lock around it."""

    def __init__(self, root: Path) -> None:
        self.bodies = Bodies(root / "bodies")
        self._records = Records(root)
        DiskKey.bodies = self.bodies
        vars(models).update(FakeKey=DiskKey, FakeMultipart=DiskMultipart)
        self.backend: Any = models.s3_backends[DEFAULT_ACCOUNT_ID][PARTITION]

    # --- from disk

    def load(self) -> int:
        """Bring back everything that was acknowledged. Returns how many objects there are."""
        named: set[str] = set()
        count = 0
        for name, record in self._records.buckets():
            bucket = self.backend.create_bucket(name, record["region"])
            bucket.creation_date = datetime.fromisoformat(record["created"])
            for one in self._records.objects(name):
                if self.bodies.size(one["body"]) != one["size"]:
                    _log.error("object %s/%s is lost: its body is gone or cut off", name, one["key"])
                    self._records.delete_object(name, one["key"])
                    continue
                self._restore_object(name, one)
                named.add(one["body"])
                count += 1
        for upload, record in self._records.uploads():
            if record["bucket"] in self.backend.buckets:
                self._restore_upload(upload, record)
                named.update(part["body"] for part in record["parts"].values())
            else:
                self._records.delete_upload(upload)
        if swept := self.bodies.sweep(named):
            _log.info("removed %d bodies that no object names", swept)
        return count

    def _restore_object(self, bucket: str, record: Record) -> None:
        key = DiskKey(
            record["key"],
            StoredBody(record["body"], record["size"]),
            account_id=DEFAULT_ACCOUNT_ID,
            region_name=self.backend.region_name,
            storage=record["storageClass"],
            etag=record["etag"],
            version_id="null",
            bucket_name=bucket,
            checksum_value=record["checksum"]["value"],
            checksum_type=record["checksum"]["type"],
            checksum_parts=record["checksum"]["parts"],
        )
        key.checksum_algorithm = record["checksum"]["algorithm"]
        key.last_modified = datetime.fromisoformat(record["lastModified"])
        key.set_metadata(dict(record["metadata"]), replace=False)
        if record["upload"]:
            # Completing an upload again must answer as the first time did.
            key.multipart = DiskMultipart(record["key"], CaseInsensitiveDict(), DEFAULT_ACCOUNT_ID, key.region_name)
            key.multipart.id = record["upload"]
        self.backend.buckets[bucket].keys.setlist(record["key"], [key])
        if record["tags"]:
            self.backend.put_object_tagging(key, record["tags"])

    def _restore_upload(self, upload: str, record: Record) -> None:
        restored = DiskMultipart(
            record["key"],
            CaseInsensitiveDict(record["metadata"]),
            account_id=DEFAULT_ACCOUNT_ID,
            region_name=self.backend.region_name,
            storage=record["storageClass"],
            tags=record["tags"],
        )
        restored.id = upload
        for number, part in record["parts"].items():
            key = restored.set_part(int(number), cast(bytes, StoredBody(part["body"], part["size"])))
            key._etag = part["etag"]
        self.backend.buckets[record["bucket"]].multiparts[upload] = restored

    # --- to disk

    def sync_bucket(self, bucket: str) -> None:
        """After a bucket was made or removed."""
        found = self.backend.buckets.get(bucket)
        if found is None:
            self._records.delete_bucket(bucket)
        else:
            created = found.creation_date.astimezone(UTC).isoformat()
            self._records.put_bucket(bucket, {"region": found.region_name, "created": created})

    def sync_object(self, bucket: str, key: str) -> None:
        """After an object was written, tagged or removed. Raises OSError; memory is then as the disk is."""
        old = self._records.get_object(bucket, key)
        found = self._found(bucket, key)
        try:
            if found is None:
                self._records.delete_object(bucket, key)
            else:
                self._records.put_object(bucket, key, self._describe(found))
        except OSError:
            if old is None:
                self.backend.buckets[bucket].keys.pop(key)
            else:
                self._restore_object(bucket, old)
            raise
        if old is not None and (found is None or old["body"] != found.body):
            self.bodies.remove(old["body"])
        if found is not None and found.multipart is not None:
            found.multipart.parts.clear()  # the upload is over: its parts are in the object's body now

    def sync_upload(self, bucket: str, upload: str) -> None:
        """After an upload was begun, got a part, was completed or aborted."""
        found = self.backend.buckets[bucket].multiparts.get(upload) if bucket in self.backend.buckets else None
        old = {part["body"] for part in (self._records.get_upload(upload) or {"parts": {}})["parts"].values()}
        if found is None:
            self._records.delete_upload(upload)
            for body in old:
                self.bodies.remove(body)
            return
        self._records.put_upload(
            upload,
            {
                "bucket": bucket,
                "key": found.key_name,
                "metadata": dict(found.metadata),
                "storageClass": found.storage,
                "tags": found.tags,
                "parts": {
                    str(number): {"body": part.body, "size": part.contentsize, "etag": part.etag.strip('"')}
                    for number, part in found.parts.items()
                },
            },
        )
        for body in old - {part.body for part in found.parts.values()}:
            self.bodies.remove(body)

    def keys(self, bucket: str) -> set[str]:
        found = self.backend.buckets.get(bucket)
        return set(found.keys) if found is not None else set()

    def _found(self, bucket: str, key: str) -> DiskKey | None:
        found = self.backend.buckets.get(bucket)
        value: DiskKey | None = found.keys.get(key) if found is not None else None
        return value

    def _describe(self, key: DiskKey) -> Record:
        return {
            "body": key.body,
            "size": key.contentsize,
            "etag": key.etag.strip('"'),
            "lastModified": (key.last_modified or utcnow()).isoformat(),
            "metadata": dict(key.metadata),
            "storageClass": key.storage_class,
            "tags": self.backend.tagger.get_tag_dict_for_resource(key.arn),
            "upload": key.multipart.id if key.multipart is not None else None,
            "checksum": {
                "algorithm": key.checksum_algorithm,
                "value": key.checksum_value,
                "type": key.checksum_type,
                "parts": key.checksum_parts,
            },
        }
