"""Finding committed work by what it was made from, and adopting it by copies within the store."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydantic import ValidationError

from selm_runtime.artifacts.layout import by_input_key
from selm_runtime.artifacts.manifest import FileEntry, Manifest, canonical_json
from selm_runtime.artifacts.pointer import read_manifest
from selm_runtime.artifacts.store import Corrupt, NotFound, Store
from selm_runtime.contract import ContractModel, Digest

_log = logging.getLogger(__name__)


class ReusePointer(ContractModel):
    """The content of `by-input/<kind>/<input digest>`."""

    folder: str
    """The phase's folder, relative to the store."""
    manifest: Digest
    prefix: str = ""
    """Of the logical names that are meant."""


@dataclass(frozen=True)
class Hit:
    """Committed work whose manifest and files (under the prefix asked for) are all there."""

    folder: str
    manifest: Manifest
    prefix: str = ""

    @property
    def files(self) -> tuple[FileEntry, ...]:
        return self.manifest.under(self.prefix)


def publish(
    store: Store, namespace: str, kind: str, input_digest: str, folder: str, manifest: Manifest, prefix: str = ""
) -> None:
    """Let later runs of the namespace find this; a pointer that still holds is left as it is.

    `kind` is a phase's slug, or `import` for what Preparation brought in.
    """
    key = by_input_key(namespace, kind, input_digest)
    pointer = ReusePointer(folder=folder, manifest=manifest.digest, prefix=prefix)
    data = canonical_json(pointer.model_dump(mode="json", by_alias=True))
    if not store.put(key, data, if_absent=True) and find(store, namespace, kind, input_digest) is None:
        store.put(key, data)


def find(store: Store, namespace: str, kind: str, input_digest: str) -> Hit | None:
    """What a pointer names, if its manifest and the files that it means are there; else no hit."""
    try:
        pointer = ReusePointer.model_validate_json(store.get(by_input_key(namespace, kind, input_digest)))
        manifest = read_manifest(store, pointer.folder, pointer.manifest, Manifest)
    except (NotFound, Corrupt, ValidationError):
        return None
    hit = Hit(pointer.folder, manifest, pointer.prefix)
    for entry in hit.files:
        info = store.stat(f"{pointer.folder}/{entry.path}")
        if info is None or info.size != entry.size:
            _log.info("%s of %s is gone: nothing to reuse", entry.name, pointer.folder)
            return None
    return hit


def adopt_files(store: Store, hit: Hit, folder: str, within: str, *, prefix: str = "") -> tuple[FileEntry, ...] | None:
    """Copy a hit's files to `<folder>/<within>/<name>`; None where one vanished meanwhile.

    `prefix` takes the place of the hit's own in the logical names.
    """
    entries = []
    for entry in hit.files:
        name = f"{prefix}{entry.name.removeprefix(hit.prefix)}"
        copied = entry.model_copy(update={"name": name, "path": f"{within}/{name}"})
        try:
            store.copy(f"{hit.folder}/{entry.path}", f"{folder}/{copied.path}")
        except NotFound:
            return None
        entries.append(copied)
    return tuple(entries)
