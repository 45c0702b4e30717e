"""The commit protocol under kills at every operation, zombies, changing shards, and servers that ignore conditions."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selm_runtime.artifacts.chunks import chunks_of_shard
from selm_runtime.artifacts.compose import chunk_name
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.artifacts.pointer import read_manifest
from selm_runtime.contract import PhaseConfig
from support.memory_store import Killed, MemoryStore
from support.phase_configs import phase_config
from support.phase_folders import INPUT, Pod, commit_preparation

T = TypeVar("T")
TOTAL = 3
ROWS = 24


@dataclass
class Shard:
    """One pod: what it is told, and what it leaves behind."""

    attempt: int
    index: int
    shards: int
    writer: str
    deterministic: bool = True
    generated: list[int] = field(default_factory=list)
    reported: str | None = None

    def run(self, store: MemoryStore, scratch: Path, config: PhaseConfig) -> None:
        """Generation's program: what is committed is not made again; whoever sees all chunks composes."""
        pod = Pod(store, scratch, writer=self.writer, config=config.model_copy(update={"attempt": self.attempt}))
        try:
            if pod.folder.committed() is None:
                committed = pod.folder.chunks()
                for chunk in chunks_of_shard(TOTAL, self.index, self.shards):
                    if chunk not in committed:
                        self.generated.append(chunk)
                        pod.folder.commit_chunk(chunk, {"rows": pod.file("rows", self._content(chunk))}, rows=8)
                pod.folder.compose(TOTAL)
            else:
                pod.folder.settle(_not_none(pod.folder.committed()))
        finally:
            self.reported = pod.message.get("manifest")

    def _content(self, chunk: int) -> bytes:
        return f"chunk {chunk} {'' if self.deterministic else self.writer}".encode()


def _not_none(value: T | None) -> T:
    assert value is not None
    return value


def _world(*, ignore_conditions: bool = False) -> tuple[MemoryStore, PhaseConfig]:
    store = MemoryStore(ignore_conditions=ignore_conditions)
    return store, commit_preparation(store, ROWS, phase_config(phase="Generation", iteration=1))


def _phase_manifest(store: MemoryStore, config: PhaseConfig, digest: str) -> Manifest:
    """The manifest of a reported digest, every file of it verified: what the operator's next phase would read."""
    place = Pod(store, Path(tempfile.gettempdir()), writer="reader", config=config).folder.place
    manifest = read_manifest(store, place, digest, Manifest)
    assert [entry.name for entry in manifest.files] == [chunk_name(chunk, "rows") for chunk in range(TOTAL)]
    for entry in manifest.files:
        data = store.objects[f"{place}/{entry.path}"]
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256)
    assert manifest.input_digest == INPUT
    return manifest


def _only_pointers_changed(store: MemoryStore, *, ignore_conditions: bool) -> None:
    """Nothing that was written is ever replaced; a pointer is, where the store ignores the condition."""
    if not ignore_conditions:
        assert store.overwritten == []
    assert [key for key in store.overwritten if not key.endswith("/manifest.json") and "/by-input/" not in key] == []


def _undisturbed(scratch: Path) -> str:
    store, config = _world()
    shard = Shard(1, 0, 1, "only")
    shard.run(store, scratch, config)
    assert shard.reported is not None
    return _phase_manifest(store, config, shard.reported).content_digest


def _killer(at: int) -> Callable[[str], None]:
    steps = iter(range(10_000))

    def step(_: str) -> None:
        if next(steps) == at:
            raise Killed

    return step


@pytest.mark.parametrize("shards_after", [1, 2])
@pytest.mark.parametrize("ignore_conditions", [False, True])
def test_a_kill_at_any_operation_changes_nothing_of_the_result(
    tmp_path: Path, ignore_conditions: bool, shards_after: int
) -> None:
    expected = _undisturbed(tmp_path)
    killed_somewhere = 0
    for at in range(10_000):
        store, config = _world(ignore_conditions=ignore_conditions)
        victim = Shard(1, 0, 1, "victim")
        try:
            victim.run(store.view(_killer(at)), tmp_path / f"{at}", config)
            break  # there was no such operation any more
        except Killed:
            killed_somewhere += 1
        before = dict(store.objects)
        place = Pod(store, tmp_path / "reader", writer="reader", config=config).folder
        committed = set(place.chunks())
        heirs = [Shard(2, index, shards_after, f"heir{index}") for index in range(shards_after)]
        for heir in reversed(heirs):
            heir.run(store, tmp_path / f"{at}", config)
        reported = {heir.reported for heir in heirs if heir.reported}
        assert len(reported) == 1
        manifest = _phase_manifest(store, config, reported.pop())
        assert manifest.content_digest == expected
        assert not committed & {chunk for heir in heirs for chunk in heir.generated}
        assert {key: store.objects[key] for key in before} == before
    assert killed_somewhere > 40


class Schedule:
    """Pods as threads of which one runs at a time, from one store operation to its next."""

    def __init__(self, store: MemoryStore, scratch: Path, config: PhaseConfig) -> None:
        self._store, self._scratch, self._config = store, scratch, config
        self._go: dict[str, threading.Semaphore] = {}
        self._paused = threading.Semaphore(0)
        self._doomed: set[str] = set()
        self._alive: dict[str, threading.Thread] = {}
        self.crashes: list[BaseException] = []

    def start(self, shard: Shard) -> None:
        self._go[shard.writer] = threading.Semaphore(0)

        def step(_: str) -> None:
            self._paused.release()
            self._go[shard.writer].acquire()
            if shard.writer in self._doomed:
                raise Killed

        def run() -> None:
            try:
                shard.run(self._store.view(step), self._scratch, self._config)
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 - told to the test
                self.crashes.append(error)
            finally:
                del self._alive[shard.writer]
                self._paused.release()

        self._alive[shard.writer] = threading.Thread(target=run, daemon=True)
        self._alive[shard.writer].start()
        self._paused.acquire()

    @property
    def alive(self) -> list[str]:
        return sorted(self._alive)

    def advance(self, writer: str, operations: int) -> None:
        """Let a pod do so many operations, or as many as it has left."""
        for _ in range(operations):
            if writer not in self._alive:
                return
            self._go[writer].release()
            self._paused.acquire()

    def kill(self, writer: str) -> None:
        self._doomed.add(writer)
        while writer in self._alive:
            self._go[writer].release()
            self._paused.acquire()

    def finish(self) -> None:
        while self._alive:
            self.advance(self.alive[0], 1_000)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("ignore_conditions", [False, True])
def test_a_zombie_that_stood_still_at_any_operation_is_not_believed(
    tmp_path: Path, ignore_conditions: bool, shards: int
) -> None:
    """Its responses differ (not reproducible): whatever it does late, what was reported stays what it was."""
    for operations in range(10_000):
        store, config = _world(ignore_conditions=ignore_conditions)
        schedule = Schedule(store, tmp_path / f"{operations}", config)
        zombie = Shard(1, 0, 1, "zombie", deterministic=False)
        schedule.start(zombie)
        schedule.advance("zombie", operations)
        if not schedule.alive:
            break
        heirs = [Shard(2, index, shards, f"heir{index}", deterministic=False) for index in range(shards)]
        for heir in heirs:
            heir.run(store, tmp_path / f"{operations}", config)
        [digest] = {heir.reported for heir in heirs if heir.reported}
        manifest = _phase_manifest(store, config, digest)
        schedule.finish()
        assert schedule.crashes == []
        assert _phase_manifest(store, config, digest) == manifest
        assert zombie.reported is not None
        late = _phase_manifest(store, config, zombie.reported)
        assert ignore_conditions or late == manifest
        _only_pointers_changed(store, ignore_conditions=ignore_conditions)
    assert operations > 20


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["start", "advance", "kill"]), st.integers(0, 9), st.integers(1, 40)), max_size=14
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(actions=ACTIONS, ignore_conditions=st.booleans(), deterministic=st.booleans())
def test_whatever_is_reported_is_whole_and_one(
    actions: list[tuple[str, int, int]], ignore_conditions: bool, deterministic: bool
) -> None:
    """Pods of several attempts with other numbers of shards, interleaved, killed, late: then one clean attempt."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        store, config = _world(ignore_conditions=ignore_conditions)
        schedule = Schedule(store, scratch, config)
        started: list[Shard] = []
        for action, which, amount in actions:
            if action == "start":
                attempt, shards = len(started) + 1, 1 + which % 3
                for index in range(shards):
                    shard = Shard(attempt, index, shards, f"a{attempt}s{index}", deterministic)
                    started.append(shard)
                    schedule.start(shard)
            elif schedule.alive:
                writer = schedule.alive[which % len(schedule.alive)]
                if action == "advance":
                    schedule.advance(writer, amount)
                else:
                    schedule.kill(writer)
        last = Shard(99, 0, 1, "last", deterministic)
        last.run(store, scratch, config)  # while the zombies stand still
        assert last.reported is not None
        first_word = _phase_manifest(store, config, last.reported)
        before = {key: data for key, data in store.objects.items() if not key.endswith("/manifest.json")}
        schedule.finish()  # and now the zombies write
        assert schedule.crashes == []
        assert _phase_manifest(store, config, last.reported) == first_word
        assert {key: store.objects.get(key) for key in before} == before
        _only_pointers_changed(store, ignore_conditions=ignore_conditions)
        reported = [shard.reported for shard in [*started, last] if shard.reported is not None]
        manifests = [_phase_manifest(store, config, digest) for digest in reported]
        if deterministic:
            assert {manifest.content_digest for manifest in manifests} == {_undisturbed(scratch / "calm")}
        if not ignore_conditions:
            assert len(set(reported)) == 1


@settings(max_examples=40, deadline=None)
@given(kill_at=st.integers(0, 60), again_at=st.integers(0, 60), ignore_conditions=st.booleans())
def test_training_commits_and_resumes_through_kills(kill_at: int, again_at: int, ignore_conditions: bool) -> None:
    """Checkpoints and the final commit: a resumed trainer takes a whole checkpoint, and none is left at the end."""
    steps = 4
    with tempfile.TemporaryDirectory() as folder:
        store = MemoryStore(ignore_conditions=ignore_conditions)
        config = phase_config(phase="Training", iteration=1)

        def train(attempt: int, step: Callable[[str], None]) -> str | None:
            pod = Pod(
                store.view(step),
                Path(folder),
                writer=f"w{attempt}",
                config=config.model_copy(update={"attempt": attempt}),
            )
            if pod.folder.committed() is None:
                found = pod.folder.latest_checkpoint()
                state = 0
                if found is not None:
                    pod.folder.fetch_checkpoint(found, pod.scratch / "resume")
                    state = int((pod.scratch / "resume" / "state").read_text())
                    assert state == found.step
                for now in range(state + 1, steps + 1):
                    pod.folder.commit_checkpoint(now, pod.files({"state": str(now).encode()}), {})
                    pod.folder.prune_checkpoints(2)
                pod.folder.commit(pod.files({"model/w": b"weights"}), rows=steps)
            else:
                pod.folder.settle(_not_none(pod.folder.committed()))
            manifest: str | None = pod.message.get("manifest")
            return manifest

        for attempt, at in ((1, kill_at), (2, again_at)):
            try:
                train(attempt, _killer(at))
            except Killed:
                continue
        digest = train(3, lambda _: None)
        assert digest is not None
        assert [key for key in store.objects if "/checkpoints/" in key] == []
        _only_pointers_changed(store, ignore_conditions=ignore_conditions)
        place = "team/run-0001/iter-1/training"
        manifest = read_manifest(store, place, digest, Manifest)
        assert store.objects[f"{place}/{manifest.files[0].path}"] == b"weights"
