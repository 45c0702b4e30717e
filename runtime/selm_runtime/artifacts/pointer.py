"""One commit: an immutable manifest under its own digest, and a pointer to it, written last.

Correctness does not hang on the store's conditional writes. Readers that hold a digest read the immutable
manifest; a pointer only saves work. A pod that is late, or a server that ignores `If-None-Match`, can at worst
make a pointer name another complete commit of the same input.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TypeVar

from pydantic import Field, ValidationError

from selm_runtime.artifacts.layout import manifest_key, pointer_key
from selm_runtime.artifacts.manifest import Manifest, canonical_json
from selm_runtime.artifacts.store import Corrupt, NotFound, Store
from selm_runtime.contract import ContractModel, Digest
from selm_runtime.errors import TemporaryFailure

M = TypeVar("M", bound=Manifest)
_log = logging.getLogger(__name__)


class Pointer(ContractModel):
    """The content of `manifest.json`."""

    manifest: Digest
    attempt: int = Field(ge=1)
    """Of the writer: a pod of an earlier attempt never replaces the pointer of a later one."""


def read_pointer(store: Store, place: str) -> Pointer | None:
    """None where there is none, or where what is there cannot be read (a write that a kill cut short)."""
    try:
        return Pointer.model_validate_json(store.get(pointer_key(place)))
    except (NotFound, ValidationError):
        return None


def read_manifest(store: Store, place: str, digest: str, kind: type[M]) -> M:
    """The immutable manifest of a digest. Raises NotFound, and Corrupt where its bytes are not the digest's."""
    data = store.get(manifest_key(place, digest))
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise Corrupt(f"{store.uri_of(manifest_key(place, digest))} does not have the SHA-256 of its name")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise Corrupt(f"{store.uri_of(manifest_key(place, digest))} is no manifest: {error}") from error


def read_pointed(store: Store, place: str, kind: type[M]) -> M | None:
    """What the pointer of `place` names, whatever it was made from; None where a part of it is gone."""
    pointer = read_pointer(store, place)
    if pointer is None:
        return None
    try:
        return read_manifest(store, place, pointer.manifest, kind)
    except (NotFound, Corrupt) as error:
        _log.warning("the pointer of %s names a manifest that is not there: %s", place, error)
        return None


def read_committed(store: Store, place: str, kind: type[M], input_digest: str) -> M | None:
    """What is committed at `place` from this very input, or None."""
    found = read_pointed(store, place, kind)
    return found if found is not None and found.input_digest == input_digest else None


def commit_manifest(store: Store, place: str, manifest: M, attempt: int) -> M:
    """Commit, or return what another pod committed first from the same input.

    A pointer to a commit made from another input (the configuration was changed between attempts) is replaced,
    unless a later attempt wrote it: then TemporaryFailure, for this pod is a leftover.
    """
    kind = type(manifest)
    store.put(manifest_key(place, manifest.digest), manifest.to_bytes())
    data = canonical_json(Pointer(manifest=manifest.digest, attempt=attempt).model_dump(mode="json", by_alias=True))
    # Read first: on a server that ignores the condition, the write would replace what is there.
    found = read_pointed(store, place, kind)
    if found is None and read_pointer(store, place) is None and store.put(pointer_key(place), data, if_absent=True):
        return manifest
    found = read_pointed(store, place, kind)
    if found is not None and found.input_digest == manifest.input_digest:
        return found
    standing = read_pointer(store, place)
    if standing is not None and standing.attempt > attempt:
        raise TemporaryFailure(
            "Superseded", f"attempt {standing.attempt} has committed {place} from another input than this attempt's"
        )
    store.put(pointer_key(place), data)
    return manifest
