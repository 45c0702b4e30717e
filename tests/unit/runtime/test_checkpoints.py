"""Checkpoints: the highest step that is whole and of this input; several ranks make one."""

from __future__ import annotations

from pathlib import Path

import pytest

from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.manifest import digest_of
from selm_runtime.errors import InvalidInput
from support.phase_configs import phase_config
from support.phase_folders import Pod

CONFIG = phase_config(phase="Training", iteration=1)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def _pod(store: FileStore, tmp_path: Path, writer: str = "w1", **more: str) -> Pod:
    return Pod(store, tmp_path, writer=writer, config=CONFIG, **more)


def _checkpoint(pod: Pod, step: int) -> None:
    pod.folder.commit_checkpoint(step, pod.files({"state": f"state {step}".encode()}), {"world": 1})


def _objects(store: FileStore) -> list[str]:
    return [info.key for info in store.list("team/run-0001/iter-1/training/checkpoints/")]


def test_the_highest_committed_step_is_taken(store: FileStore, tmp_path: Path) -> None:
    pod = _pod(store, tmp_path)
    assert pod.folder.latest_checkpoint() is None
    for step in (0, 9, 10):
        _checkpoint(pod, step)
    found = pod.folder.latest_checkpoint()
    assert found is not None
    assert (found.step, found.facts) == (10, {"world": 1})
    assert pod.message["checkpointStep"] == 10
    assert (pod.folder.fetch_checkpoint(found, tmp_path / "f") / "state").read_bytes() == b"state 10"
    below = pod.folder.latest_checkpoint(below=10)
    assert below is not None
    assert below.step == 9


def test_the_parts_of_all_ranks_make_one(store: FileStore, tmp_path: Path) -> None:
    zero, one = _pod(store, tmp_path, "w0"), _pod(store, tmp_path, "w1")
    entries = one.folder.upload_checkpoint(4, one.files({"rank-1/state": b"1"}))
    assert zero.folder.latest_checkpoint() is None  # an upload is no checkpoint
    zero.folder.commit_checkpoint(4, zero.files({"rank-0/state": b"0"}), entries=entries)
    found = one.folder.latest_checkpoint()
    assert found is not None
    assert [entry.name for entry in found.files] == ["rank-0/state", "rank-1/state"]
    one.folder.fetch_checkpoint(found, tmp_path / "f", "rank-1/")
    assert (tmp_path / "f" / "state").read_bytes() == b"1"


def test_one_whose_files_are_gone_is_passed_over(store: FileStore, tmp_path: Path) -> None:
    pod = _pod(store, tmp_path)
    _checkpoint(pod, 1)
    _checkpoint(pod, 2)
    store.delete([key for key in _objects(store) if "00000002/pod-" in key])
    found = pod.folder.latest_checkpoint()
    assert found is not None
    assert found.step == 1


def test_a_damaged_one_is_refused_when_fetched(store: FileStore, tmp_path: Path) -> None:
    pod = _pod(store, tmp_path)
    _checkpoint(pod, 1)
    [state] = [key for key in _objects(store) if key.endswith("state")]
    store.put(state, b"stAte 1")
    found = pod.folder.latest_checkpoint()
    assert found is not None
    with pytest.raises(InvalidInput) as caught:
        pod.folder.fetch_checkpoint(found, tmp_path / "f")
    assert caught.value.reason == "CorruptArtifact"


def test_one_of_another_input_is_passed_over(store: FileStore, tmp_path: Path) -> None:
    _checkpoint(_pod(store, tmp_path, input_digest=digest_of("other learning rate")), 7)
    pod = _pod(store, tmp_path)
    assert pod.folder.latest_checkpoint() is None
    _checkpoint(pod, 3)
    found = pod.folder.latest_checkpoint()
    assert found is not None
    assert found.step == 3


def test_pruning_keeps_the_newest_and_removes_what_was_begun_before(store: FileStore, tmp_path: Path) -> None:
    pod = _pod(store, tmp_path)
    pod.folder.upload_checkpoint(2, pod.files({"state": b"never committed"}))
    for step in (1, 3, 5):
        _checkpoint(pod, step)
    pod.folder.upload_checkpoint(6, pod.files({"state": b"under way"}))
    pod.folder.prune_checkpoints(2)
    steps = {key.split("/")[5] for key in _objects(store)}
    assert steps == {"00000003", "00000005", "00000006"}


def test_those_of_another_input_that_are_further_on_displace_none(store: FileStore, tmp_path: Path) -> None:
    """A run that was repaired while suspended begins anew below the steps that it had come to."""
    before = _pod(store, tmp_path, input_digest=digest_of("other learning rate"))
    for step in (400, 500):
        _checkpoint(before, step)
    pod = _pod(store, tmp_path, "w2")
    for step in (0, 50, 100):
        _checkpoint(pod, step)
        pod.folder.prune_checkpoints(2)
        found = pod.folder.latest_checkpoint()
        assert found is not None
        assert found.step == step
    below = pod.folder.latest_checkpoint(below=100)
    assert below is not None
    assert below.step == 50
    assert pod.folder.latest_checkpoint(below=50) is None


def test_all_are_removed_when_the_phase_commits(store: FileStore, tmp_path: Path) -> None:
    pod = _pod(store, tmp_path)
    _checkpoint(pod, 1)
    manifest = pod.folder.commit(pod.files({"model/w": b"x"}), rows=1)
    assert _objects(store) == []
    _checkpoint(pod, 2)  # as if the kill had come between the commit and the removal
    _pod(store, tmp_path, "w2").folder.settle(manifest)
    assert _objects(store) == []
