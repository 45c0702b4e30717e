"""A model whose weights stay in the store: they are read in parts, verified as they stream, and never lie on a disk.

    open_stream   a folder with all that the manifest holds but the tensors, and what is to be read of the store
    read_weights  every file's bytes in order, with several parts under way, each file checked against its SHA-256

Memory: `PARTS_AHEAD` parts of `PART_BYTES` under way or waiting, and the one that is being taken apart.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selm_runtime.artifacts.layout import phase_folder
from selm_runtime.artifacts.manifest import FileEntry, Manifest
from selm_runtime.artifacts.reader import READS_BEFORE_CORRUPT, RunReader, gone
from selm_runtime.artifacts.store import Corrupt, NotFound, Store, verify
from selm_runtime.artifacts.tensors import BadHeader, header_end, tensor_places
from selm_runtime.errors import InvalidInput, TemporaryFailure

PART_BYTES = 64 << 20
"""As uploads have it: some servers read the whole object for each ranged read."""
PARTS_AHEAD = 8
INDEX = "model.safetensors.index.json"
WEIGHTS = ".safetensors"
_FIRST_BYTES = 1 << 20


@dataclass(frozen=True)
class StreamedFile:
    """One file of weights in the store; what `verify` holds it to."""

    name: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Streamed:
    """A model without its tensors."""

    folder: Path
    """Its other files, and beside them the header of each file of weights under that file's name: enough for those who ask
    what is in there, too little to be taken for the file.
    """
    files: tuple[StreamedFile, ...]


def open_stream(reader: RunReader, manifest: Manifest, folder: Path, prefix: str = "model/") -> Streamed:
    """Fetches all but the tensors into `folder`.

    Raises InvalidInput where a file is gone, or has another size or no header; UnknownType for tensors that only
    safetensors itself can read.
    """
    entries = manifest.under(prefix)
    small = tuple(entry for entry in entries if not entry.name.endswith(WEIGHTS))
    reader.fetch(manifest.model_copy(update={"files": small}), prefix, folder)
    place = phase_folder(reader.run, manifest.phase, manifest.iteration)
    files = [
        StreamedFile(entry.name.removeprefix(prefix), f"{place}/{entry.path}", entry.size, entry.sha256)
        for entry in _indexed(entries, folder, prefix)
    ]
    for file in files:
        (folder / file.name).write_bytes(_header(reader.store, file))
    return Streamed(folder, tuple(files))


def read_weights(
    store: Store, files: Sequence[StreamedFile], *, part_bytes: int | None = None, ahead: int | None = None
) -> Generator[tuple[StreamedFile, Iterator[bytearray]]]:
    """Each file with its bytes in order, to be read to their end before the next file.

    What a file's iterator raises once its last byte was given, and another one read: Corrupt unless size and SHA-256 are
    the manifest's. InvalidInput where a file is gone. The parts' size and number are `PART_BYTES` and `PARTS_AHEAD` unless
    given.
    """
    part_bytes = part_bytes or PART_BYTES
    with closing(_parts(store, files, part_bytes, ahead or PARTS_AHEAD)) as parts:
        for file in files:
            yield file, _verified(store.uri_of(file.key), file, islice(parts, -(-file.size // part_bytes)))


def damage_of(store: Store, file: StreamedFile, found: Corrupt) -> InvalidInput | TemporaryFailure:
    """What is to be said of a file that did not stream as it should: a way that damaged it, or damage at rest, which
    another look finds again. Reads it anew.
    """
    for _ in range(READS_BEFORE_CORRUPT - 1):
        try:
            for _, parts in read_weights(store, [file]):
                first = next(parts)
                tensor_places(first + _rest(store, file, first), file.size)
                for _ in parts:
                    pass
        except BadHeader as error:
            found = Corrupt(f"{store.uri_of(file.key)} is no whole safetensors file: {error}")
        except Corrupt as error:
            found = error
        else:
            return TemporaryFailure("DamagedOnTheWay", f"{found}; read again it is whole")
    return InvalidInput("CorruptArtifact", f"{file.name}: {found}")


def _parts(store: Store, files: Sequence[StreamedFile], part_bytes: int, ahead: int) -> Generator[bytearray]:
    wanted = [(file, start) for file in files for start in range(0, file.size, part_bytes)]
    pool = ThreadPoolExecutor(ahead, "weights")
    under_way: deque[Future[bytearray]] = deque()
    try:
        for file, start in wanted:
            if len(under_way) == ahead:
                yield under_way.popleft().result()
            under_way.append(pool.submit(_part, store, file, start, min(part_bytes, file.size - start)))
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _part(store: Store, file: StreamedFile, start: int, size: int) -> bytearray:
    try:
        found = store.read(file.key, start, size)
    except NotFound as error:
        raise gone(file.name, store.uri_of(file.key)) from error
    if len(found) != size:
        verify(store.uri_of(file.key), start + len(found), "", size=file.size, sha256=None)
    return found


def _verified(uri: str, file: StreamedFile, parts: Iterable[bytearray]) -> Iterator[bytearray]:
    digest, count = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        count += len(part)
        yield part
    verify(uri, count, digest.hexdigest(), size=file.size, sha256=file.sha256)


def _indexed(entries: Sequence[FileEntry], folder: Path, prefix: str) -> list[FileEntry]:
    """The files of weights, by name: those that the index names where there is one, as vLLM takes them."""
    there = {entry.name.removeprefix(prefix): entry for entry in entries if entry.name.endswith(WEIGHTS)}
    there = {name: entry for name, entry in there.items() if "/" not in name}
    index = folder / INDEX
    wanted = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else set(there)
    if missing := sorted(wanted - there.keys()):
        raise InvalidInput("MissingArtifact", f"{INDEX} names {', '.join(missing[:5])}, which is not in the manifest")
    return [there[name] for name in sorted(wanted)]


def _header(store: Store, file: StreamedFile) -> bytes:
    """A file's beginning up to the first tensor."""
    info = store.stat(file.key)
    if info is None:
        raise gone(file.name, store.uri_of(file.key))
    problem = f"has {info.size} bytes, its manifest says {file.size}" if info.size != file.size else ""
    for _ in range(0 if problem else READS_BEFORE_CORRUPT):
        try:
            beginning = store.read(file.key, 0, min(file.size, _FIRST_BYTES))
            beginning += _rest(store, file, beginning)
            tensor_places(beginning, file.size)
            return bytes(beginning[: header_end(beginning, file.size)])
        except NotFound as error:
            raise gone(file.name, store.uri_of(file.key)) from error
        except BadHeader as error:
            problem = f"is no whole safetensors file: {error}"
    raise InvalidInput("CorruptArtifact", f"{file.name}: {store.uri_of(file.key)} {problem}")


def _rest(store: Store, file: StreamedFile, beginning: bytearray) -> bytearray:
    """What `beginning` lacks of the header."""
    missing = header_end(beginning, file.size) - len(beginning)
    return store.read(file.key, len(beginning), missing) if missing > 0 else bytearray()
