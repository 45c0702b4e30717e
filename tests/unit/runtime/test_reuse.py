"""Committed work is found by what it was made from, and adopted by copies; what is gone is no hit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selm_runtime.artifacts import reuse
from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.layout import by_input_key
from selm_runtime.artifacts.manifest import Manifest, digest_of
from selm_runtime.contract import PhaseConfig
from support.phase_configs import phase_config
from support.phase_folders import Pod, commit_preparation

FIRST = phase_config(phase="Training", iteration=1)
SECOND = phase_config(phase="Training", iteration=1, run={"name": "again", "uid": "0002"})


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def _commit(store: FileStore, tmp_path: Path, config: PhaseConfig = FIRST) -> Manifest:
    pod = Pod(store, tmp_path, writer="w1", config=config)
    return pod.folder.commit(pod.files({"model/config.json": b"{}", "model/w": b"xyz"}), rows=5, metrics={"loss": 1.0})


def test_a_hit_is_adopted_into_the_runs_own_folder(store: FileStore, tmp_path: Path) -> None:
    done = _commit(store, tmp_path)
    pod = Pod(store, tmp_path, writer="w2", config=SECOND)
    assert pod.folder.can_adopt()
    adopted = pod.folder.adopt()
    assert adopted is not None
    assert adopted.content_digest == done.content_digest
    assert (adopted.rows, adopted.metrics) == (5, {"loss": 1.0})
    assert [entry.path for entry in adopted.files] == ["pod-w2/model/config.json", "pod-w2/model/w"]
    assert pod.message == {"manifest": adopted.digest, "rows": 5, "metrics": {"loss": 1.0}}
    # What the first run's retention removes does not touch the second's.
    store.delete([info.key for info in store.list("team/run-0001/")])
    assert (pod.folder.fetch(adopted, "model/", tmp_path / "f") / "w").read_bytes() == b"xyz"


def test_adopted_files_share_the_disk(store: FileStore, tmp_path: Path) -> None:
    _commit(store, tmp_path)
    Pod(store, tmp_path, writer="w2", config=SECOND).folder.adopt()
    root = tmp_path / "store" / "team"
    one = root / "run-0001" / "iter-1" / "training" / "pod-w1" / "model" / "w"
    two = root / "again-0002" / "iter-1" / "training" / "pod-w2" / "model" / "w"
    assert one.stat().st_ino == two.stat().st_ino


def _no_pointer(store: FileStore) -> None:
    store.delete([info.key for info in store.list("team/by-input/")])


def _no_manifest(store: FileStore) -> None:
    store.delete([info.key for info in store.list("team/run-0001/") if "/manifests/" in info.key])


def _no_file(store: FileStore) -> None:
    store.delete([info.key for info in store.list("team/run-0001/") if info.key.endswith("model/w")])


def _other_size(store: FileStore) -> None:
    for info in list(store.list("team/run-0001/")):
        if info.key.endswith("model/w"):
            store.put(info.key, b"longer than it was")


def _broken_pointer(store: FileStore) -> None:
    for info in list(store.list("team/by-input/")):
        store.put(info.key, b"{")


@pytest.mark.parametrize("loss", [_no_pointer, _no_manifest, _no_file, _other_size, _broken_pointer])
def test_what_is_gone_is_no_hit(store: FileStore, tmp_path: Path, loss: Callable[[FileStore], None]) -> None:
    _commit(store, tmp_path)
    loss(store)
    pod = Pod(store, tmp_path, writer="w2", config=SECOND)
    assert not pod.folder.can_adopt()
    assert pod.folder.adopt() is None
    # The run does the work itself, and its own is found from then on.
    _commit(store, tmp_path, SECOND)
    third = Pod(store, tmp_path, writer="w3", config=phase_config(phase="Training", iteration=1, run={"uid": "0003"}))
    assert third.folder.can_adopt()


@pytest.mark.parametrize("who", ["finder", "maker"])
def test_reuse_none_neither_finds_nor_is_found(store: FileStore, tmp_path: Path, who: str) -> None:
    closed = {"artifacts": {"reuse": "None"}}
    maker = phase_config(phase="Training", iteration=1, **(closed if who == "maker" else {}))
    _commit(store, tmp_path, maker)
    finder = phase_config(phase="Training", iteration=1, run={"uid": "0002"}, **(closed if who == "finder" else {}))
    assert not Pod(store, tmp_path, writer="w2", config=finder).folder.can_adopt()


def test_never_across_namespaces(store: FileStore, tmp_path: Path) -> None:
    _commit(store, tmp_path)
    other = phase_config(phase="Training", iteration=1, run={"namespace": "other", "uid": "0002"})
    assert not Pod(store, tmp_path, writer="w2", config=other).folder.can_adopt()


def test_another_input_is_no_hit(store: FileStore, tmp_path: Path) -> None:
    _commit(store, tmp_path)
    pod = Pod(store, tmp_path, writer="w2", config=SECOND, input_digest=digest_of("another"))
    assert not pod.folder.can_adopt()


def test_a_run_with_a_chunk_of_its_own_goes_on_by_itself(store: FileStore, tmp_path: Path) -> None:
    first = Pod(store, tmp_path, writer="w1", config=commit_preparation(store, 8))
    first.folder.commit_chunk(0, first.files({"responses": b"sampled"}), rows=8)
    assert first.folder.compose(1) is not None
    config = commit_preparation(store, 16, phase_config(phase="Generation", iteration=1, run={"uid": "0002"}))
    second = Pod(store, tmp_path, writer="w2", config=config)
    assert second.folder.can_adopt()
    second.folder.commit_chunk(0, second.files({"responses": b"sampled"}), rows=8)
    assert not second.folder.can_adopt()
    assert second.folder.adopt() is None


def test_a_pointer_that_holds_is_left_as_it_is(store: FileStore, tmp_path: Path) -> None:
    _commit(store, tmp_path)
    [pointer] = [info.key for info in store.list("team/by-input/")]
    before = store.get(pointer)
    Pod(store, tmp_path, writer="w2", config=SECOND).folder.adopt()
    assert store.get(pointer) == before


def test_a_file_that_vanishes_while_it_is_copied_is_no_hit(store: FileStore, tmp_path: Path) -> None:
    done = _commit(store, tmp_path)
    hit = reuse.Hit("team/run-0001/iter-1/training", done)
    _no_file(store)
    assert reuse.adopt_files(store, hit, "team/x", "pod-w2") is None


def test_a_kill_before_the_pointer_is_made_good_by_whoever_finds_the_commit(store: FileStore, tmp_path: Path) -> None:
    done = _commit(store, tmp_path)
    _no_pointer(store)
    Pod(store, tmp_path, writer="w2", config=FIRST).folder.settle(done)
    pod = Pod(store, tmp_path, writer="w3", config=SECOND)
    assert store.stat(by_input_key("team", "training", pod.folder.input_digest)) is not None
    assert pod.folder.can_adopt()
