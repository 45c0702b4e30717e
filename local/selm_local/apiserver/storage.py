"""Objects and their history, in SQLite and in memory.

Every version of every object is one row of `revisions`; the newest row of a key is the object, older rows are the
event log that watches replay and that consistent paging reads. Compaction removes superseded rows and remembers how
far (`floor`): what was asked for before the floor is answered 410 Gone.

All writes happen in one thread, synchronously: between reading the state and committing the next nobody else runs,
so there is neither a lock nor a lost update. WAL with synchronous=NORMAL loses nothing when the process is killed (a
power cut may cost the last commits, never consistency) and makes a commit cost tens of microseconds; the checkpoints,
which do wait for the disk, run in another thread (`checkpoint`).
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selm_local.apiserver.index import Table

Object = dict[str, Any]
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS revisions (
  version INTEGER PRIMARY KEY,
  storage TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  change TEXT NOT NULL,
  previous INTEGER,
  superseded INTEGER,
  time REAL NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS superseded ON revisions (superseded) WHERE superseded IS NOT NULL;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode(obj: Any) -> bytes:
    """Compact JSON, UTF-8."""
    return _ENCODER.encode(obj).encode()


def _claim(path: Path) -> int:
    """Keep other processes off this state: two writers would give out the same versions.

    The lock goes with the process, however it ends. Raises RuntimeError where another holds it.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RuntimeError(f"{path} is in use by another API server") from None
    # Secrets and the key that signs tokens are in it; what SQLite puts beside it gets the same mode.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return lock


class Stored:
    """One committed version of one object.

    raw: its JSON, resourceVersion included. object: the same, parsed; shared, so nobody may change it.
    """

    __slots__ = ("_object", "labels", "name", "namespace", "raw", "storage", "version")

    def __init__(self, storage: str, namespace: str, name: str, version: int, raw: bytes, obj: Object | None = None):
        self.storage = storage
        self.namespace = namespace
        self.name = name
        self.version = version
        self.raw = raw
        self._object = obj
        meta = (obj if obj is not None else self.copy()).get("metadata") or {}
        self.labels: dict[str, str] = meta.get("labels") or {}

    @property
    def object(self) -> Object:
        if self._object is None:
            self._object = self.copy()
        return self._object

    def copy(self) -> Object:
        """A copy of its own for a caller who may change it (parsing is faster than deepcopy)."""
        parsed: Object = json.loads(self.raw)
        return parsed

    def forget_parsed(self) -> None:
        """History keeps the JSON only: parsed objects take several times the memory."""
        self._object = None


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the history. For DELETED `new` is the last state, under the version of the deletion."""

    version: int
    type: ChangeType
    new: Stored
    old: Stored | None
    time: float


class Compacted(Exception):
    """The version asked for is below the floor."""

    def __init__(self, floor: int):
        super().__init__(f"compacted up to version {floor}")
        self.floor = floor


class Storage:
    """The state, and the one place that writes it.

    window: at least so many changes stay replayable. keep_seconds: and no change younger than this is compacted,
    up to ten windows.
    """

    def __init__(self, path: Path | None, *, window: int = 2000, keep_seconds: float = 300.0):
        self._path = path
        self._lock = None if path is None else _claim(path)
        self._window = window
        self._keep_seconds = keep_seconds
        self._db = self._connect()
        self._tables: dict[str, Table[Stored]] = {}
        self._history: deque[Change] = deque()
        self.version = 0
        self.floor = 0
        self.on_change: Callable[[Change], None] = lambda _: None
        self._load()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path or ":memory:", isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        if self._path is not None:
            db.execute("PRAGMA wal_autocheckpoint=0")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, SCHEMA_VERSION):
            raise RuntimeError(
                f"{self._path}: format {found} of the cluster's state; this program reads {SCHEMA_VERSION}"
            )
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        return db

    def _load(self) -> None:
        row = self._db.execute("SELECT value FROM meta WHERE key='floor'").fetchone()
        self.floor = int(row[0]) if row else 0
        self.version = self.floor
        by_version: dict[int, Stored] = {}
        query = "SELECT version, storage, namespace, name, change, previous, time, body FROM revisions ORDER BY version"
        for version, storage, namespace, name, change, previous, when, body in self._db.execute(query):
            stored = Stored(storage, namespace, name, version, body)
            old = by_version.pop(previous, None) if previous is not None else None
            by_version[version] = stored
            table = self._tables.setdefault(storage, Table())
            if change != "DELETED":
                table.put(stored)
            elif table.get(namespace, name) is not None:
                table.remove(namespace, name)
            if version > self.floor:
                self._history.append(Change(version, change, stored, old, when))
            self.version = max(self.version, version)

    def close(self) -> None:
        self.checkpoint()
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    # --- settings that belong to the state, such as the key that signs tokens

    def setting(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return row[0] if row else None

    def keep_setting(self, key: str, value: str) -> str:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        return value

    # --- reading

    def get(self, storage: str, namespace: str, name: str) -> Stored | None:
        return self.table(storage).get(namespace, name)

    def table(self, storage: str) -> Table[Stored]:
        """The live objects under a key."""
        found = self._tables.get(storage)
        if found is None:
            found = self._tables[storage] = Table()
        return found

    def all(self, storage: str, namespace: str | None = None) -> list[Stored]:
        """All objects, in the order of namespace and name (the order in which a real API server lists them)."""
        return list(self.table(storage).ordered(namespace))

    def list_at(self, storage: str, namespace: str | None, version: int) -> list[Stored]:
        """The list as it was at `version`. Raises Compacted when the history does not reach back so far."""
        if version < self.floor:
            raise Compacted(self.floor)
        state = {(s.namespace, s.name): s for s in self.all(storage, namespace)}
        for change in reversed(self._history):
            if change.version <= version:
                break
            new = change.new
            if new.storage != storage or (namespace is not None and new.namespace != namespace):
                continue
            if change.old is None:
                state.pop((new.namespace, new.name), None)
            else:
                state[new.namespace, new.name] = change.old
        return [state[key] for key in sorted(state)]

    def changes_since(self, version: int, storage: str) -> Iterator[Change]:
        """What happened after `version`, oldest first. Raises Compacted when the history does not reach back so far."""
        if version < self.floor:
            raise Compacted(self.floor)
        later: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            if change.new.storage == storage:
                later.append(change)
        return reversed(later)

    # --- writing

    def put(self, storage: str, namespace: str, name: str, obj: Object) -> Stored:
        """Create or replace. Sets metadata.resourceVersion in `obj`, which from then on belongs to the storage."""
        old = self.get(storage, namespace, name)
        return self._commit("MODIFIED" if old else "ADDED", storage, namespace, name, obj, old)

    def delete(self, storage: str, namespace: str, name: str, last: Object) -> Stored:
        """Remove. `last` is the state that watchers see in the DELETED event."""
        old = self.table(storage).get(namespace, name)
        if old is None:
            raise KeyError(f"{storage} {namespace}/{name}")
        return self._commit("DELETED", storage, namespace, name, last, old)

    def _commit(
        self, kind: ChangeType, storage: str, namespace: str, name: str, obj: Object, old: Stored | None
    ) -> Stored:
        version = self.version + 1
        obj["metadata"]["resourceVersion"] = str(version)
        new = Stored(storage, namespace, name, version, encode(obj), obj)
        previous = old.version if old else None
        now = time.time()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute(
                "INSERT INTO revisions (version, storage, namespace, name, change, previous, superseded, time, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    version,
                    storage,
                    namespace,
                    name,
                    kind,
                    previous,
                    version if kind == "DELETED" else None,
                    now,
                    new.raw,
                ),
            )
            if previous is not None:
                self._db.execute("UPDATE revisions SET superseded=? WHERE version=?", (version, previous))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self.version = version
        table = self.table(storage)
        if kind == "DELETED":
            table.remove(namespace, name)
            new.forget_parsed()
        else:
            table.put(new)
        if old is not None:
            old.forget_parsed()
        change = Change(version, kind, new, old, now)
        self._history.append(change)
        self.on_change(change)
        return new

    # --- upkeep

    def compact(self, now: float | None = None) -> int:
        """Drop history that is out of the window. Returns how many changes were dropped."""
        now = time.time() if now is None else now
        dropped = 0
        while len(self._history) > self._window:
            oldest = self._history[0]
            if now - oldest.time < self._keep_seconds and len(self._history) <= 10 * self._window:
                break
            self.floor = oldest.version
            self._history.popleft()
            dropped += 1
        if dropped:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('floor', ?)", (str(self.floor),))
            self._db.execute("DELETE FROM revisions WHERE superseded IS NOT NULL AND superseded <= ?", (self.floor,))
            self._db.execute("COMMIT")
        return dropped

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database file. Safe in another thread: it uses a connection of its own."""
        if self._path is None:
            return
        db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
        try:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            db.close()
