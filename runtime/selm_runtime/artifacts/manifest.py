"""The manifest: what a commit consists of, and the digests by which it is addressed and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from selm_runtime.contract import CONTRACT_VERSION, ContractModel, Digest, Phase


def canonical_json(value: Any) -> bytes:
    """One byte string for one value: sorted keys, no blanks, no NaN (which JSON cannot say)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """`sha256:<hex>` of a JSON value in canonical form."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in bounded memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.sha256(usedforsecurity=False)).hexdigest()


def _stays_below(name: str) -> str:
    if not name or name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"a name in a manifest is relative and stays below its folder, found {name!r}")
    return name


RelativeName = Annotated[str, AfterValidator(_stays_below)]


class FileEntry(ContractModel):
    """One file of a commit."""

    name: RelativeName
    """Logical: what readers ask for, e.g. `model/config.json`; the same whoever wrote it."""
    path: RelativeName
    """Relative to the phase's folder, e.g. `pod-<writer>/model/config.json`."""
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int | None = None


class Manifest(ContractModel):
    """A committed phase, chunk or checkpoint. Holds no time, host or attempt: equal work gives equal facts."""

    contract_version: int = CONTRACT_VERSION
    phase: Phase
    iteration: int
    input_digest: Digest
    content_digest: Digest
    rows: int
    files: tuple[FileEntry, ...]
    metrics: dict[str, float] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The stored form; its SHA-256 is the manifest's address."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the stored form: an address, not a claim of equality (see `content_digest`)."""
        return "sha256:" + hashlib.sha256(self.to_bytes()).hexdigest()

    def file(self, name: str) -> FileEntry:
        """The entry of a logical name; KeyError names what is there."""
        for entry in self.files:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.files[:20])
        raise KeyError(f"no file {name!r} in the manifest of {self.phase} {self.iteration}; it has {names}")

    def under(self, prefix: str) -> tuple[FileEntry, ...]:
        """The entries whose logical name starts with `prefix`."""
        return tuple(entry for entry in self.files if entry.name.startswith(prefix))

    def content_under(self, prefix: str) -> str:
        """Digest of the content below `prefix`, names taken relative to it.

        So the same model has the same digest wherever a manifest keeps it.
        """
        return content_digest(
            entry.model_copy(update={"name": entry.name.removeprefix(prefix)}) for entry in self.under(prefix)
        )


class ChunkManifest(Manifest):
    """A committed chunk of Generation, Scoring or Evaluation; logical names are the chunk's own (`responses.parquet`)."""

    chunk: int = Field(ge=0)


def content_digest(files: Iterable[FileEntry]) -> str:
    """SHA-256 over logical names, hashes and row counts, without places."""
    return digest_of(sorted([entry.name, entry.sha256, entry.rows] for entry in files))
