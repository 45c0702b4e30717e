"""The commit protocol: what counts as committed, who may say so, and what a late writer can do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selm_runtime.artifacts.chunks import chunk_ranges, chunks_of_shard
from selm_runtime.artifacts.commit import portion_name, portion_of
from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.layout import phase_folder, pointer_key
from selm_runtime.artifacts.manifest import ChunkManifest, FileEntry, Manifest, content_digest, digest_of
from selm_runtime.artifacts.pointer import Pointer
from selm_runtime.artifacts.s3_store import S3Store
from selm_runtime.artifacts.store import Store
from selm_runtime.contract import CommittedPhase, Phase
from selm_runtime.errors import InvalidInput, TemporaryFailure
from support.moto_s3 import REGION, s3_server
from support.phase_configs import phase_config
from support.phase_folders import INPUT, Pod, commit_preparation

OTHER_INPUT = digest_of("another input")
TRAINING = phase_config(phase="Training", iteration=1)
LATER_ATTEMPT = phase_config(phase="Training", iteration=1, attempt=2)


@pytest.fixture(scope="module")
def careless_server() -> Iterator[str]:
    """An S3 server that ignores `If-None-Match`."""
    with s3_server() as server:
        server.faults.ignore_conditions = True
        yield server.endpoint


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FileStore(tmp_path / "store")


@pytest.fixture(params=["file", "s3 that ignores If-None-Match"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "file":
        return FileStore(tmp_path / "store")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    endpoint: str = request.getfixturevalue("careless_server")
    boto3.client("s3", endpoint_url=endpoint, region_name=REGION).create_bucket(Bucket="selm")
    return S3Store("selm", request.node.originalname, endpoint=endpoint)


# Chunks are cut alike everywhere


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(0, []), (1, [1]), (8, [8]), (9, [8, 1]), (48, [8] * 6), (320, [10] * 32), (10_000, [256] * 39 + [16])],
)
def test_chunk_ranges(rows: int, sizes: list[int]) -> None:
    ranges = chunk_ranges(rows)
    assert [len(chunk) for chunk in ranges] == sizes
    assert [row for chunk in ranges for row in chunk] == list(range(rows))


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 8])
def test_every_chunk_has_exactly_one_shard(shards: int) -> None:
    owned = [chunk for index in range(shards) for chunk in chunks_of_shard(7, index, shards)]
    assert sorted(owned) == list(range(7))


def test_a_shard_index_beyond_the_shards_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        chunks_of_shard(4, 2, 2)


# Digests


def _entry(name: str, path: str, sha: str = "a", rows: int | None = 1) -> FileEntry:
    return FileEntry(name=name, path=path, size=1, sha256=sha * 64, rows=rows)


def test_the_content_digest_knows_names_hashes_and_rows_but_no_places() -> None:
    base = content_digest([_entry("a", "pod-1/a"), _entry("b", "pod-1/b")])
    assert content_digest([_entry("b", "pod-2/b"), _entry("a", "pod-3/a")]) == base
    assert content_digest([_entry("a", "pod-1/a"), _entry("c", "pod-1/b")]) != base
    assert content_digest([_entry("a", "pod-1/a", "b"), _entry("b", "pod-1/b")]) != base
    assert content_digest([_entry("a", "pod-1/a", rows=2), _entry("b", "pod-1/b")]) != base


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a"])
def test_a_manifest_names_nothing_outside_its_folder(name: str) -> None:
    with pytest.raises(ValueError, match="stays below"):
        _entry(name, "pod-1/a")
    with pytest.raises(ValueError, match="stays below"):
        _entry("a", name)


# One writer


def test_a_commit_is_found_by_its_digest_and_by_its_pointer(any_store: Store, tmp_path: Path) -> None:
    pod = Pod(any_store, tmp_path, config=TRAINING)
    manifest = pod.folder.commit(
        pod.files({"model/config.json": b"{}", "model/w": b"xyz"}), rows=7, metrics={"loss": 0.5}
    )
    assert [entry.path for entry in manifest.files] == ["pod-w1/model/config.json", "pod-w1/model/w"]
    assert pod.folder.committed() == manifest
    assert pod.message == {"manifest": manifest.digest, "rows": 7, "metrics": {"loss": 0.5}}
    committed = CommittedPhase(iteration=1, phase=Phase.TRAINING, manifest=manifest.digest)
    later = Pod(
        any_store,
        tmp_path,
        config=phase_config(phase="Generation", iteration=2).model_copy(update={"committed": (committed,)}),
    )
    assert later.folder.manifest(Phase.TRAINING, 1) == manifest
    fetched = later.folder.fetch(manifest, "model/", tmp_path / "fetched")
    assert (fetched / "w").read_bytes() == b"xyz"


def test_equal_work_has_an_equal_content_digest_whoever_did_it(store: Store, tmp_path: Path) -> None:
    one, two = (
        Pod(store, tmp_path, writer=f"w{n}", config=phase_config(phase="Training", iteration=1, run={"uid": f"{n}"}))
        for n in (1, 2)
    )
    manifests = [pod.folder.commit(pod.files({"model/w": b"xyz"}), rows=1) for pod in (one, two)]
    assert manifests[0].content_digest == manifests[1].content_digest
    assert manifests[0].digest != manifests[1].digest


def test_a_late_writer_reports_what_was_committed_before(any_store: Store, tmp_path: Path) -> None:
    first, zombie = (
        Pod(any_store, tmp_path, writer="w1", config=TRAINING),
        Pod(any_store, tmp_path, writer="zombie", config=TRAINING),
    )
    done = first.folder.commit(first.files({"model/w": b"first"}), rows=1)
    assert zombie.folder.commit(zombie.files({"model/w": b"late"}), rows=1) == done
    assert zombie.message["manifest"] == done.digest


def test_a_zombie_that_overwrites_the_pointer_changes_nothing_for_who_holds_the_digest(
    any_store: Store, tmp_path: Path
) -> None:
    first, zombie = (
        Pod(any_store, tmp_path, writer="w1", config=TRAINING),
        Pod(any_store, tmp_path, writer="zombie", config=TRAINING),
    )
    done = first.folder.commit(first.files({"model/w": b"first"}), rows=1)
    late = _race_past_the_check(zombie, {"model/w": b"late"})
    assert late.digest != done.digest
    committed = CommittedPhase(iteration=1, phase=Phase.TRAINING, manifest=done.digest)
    later = Pod(
        any_store,
        tmp_path,
        config=phase_config(phase="Generation", iteration=2).model_copy(update={"committed": (committed,)}),
    )
    manifest = later.folder.manifest(Phase.TRAINING, 1)
    assert (later.folder.fetch(manifest, "model/", tmp_path / "f") / "w").read_bytes() == b"first"


def _race_past_the_check(pod: Pod, contents: dict[str, bytes]) -> Manifest:
    """Commit as a pod that saw no pointer on a server that ignores the condition: its pointer wins."""
    entries = tuple(_put(pod, name, data) for name, data in contents.items())
    manifest = Manifest(
        phase=Phase.TRAINING,
        iteration=1,
        input_digest=INPUT,
        content_digest=content_digest(entries),
        rows=1,
        files=entries,
    )
    place = pod.folder.place
    pod.folder.store.put(f"{place}/manifests/{manifest.digest.removeprefix('sha256:')}.json", manifest.to_bytes())
    pointer = Pointer(manifest=manifest.digest, attempt=1)
    pod.folder.store.put(pointer_key(place), pointer.model_dump_json(by_alias=True).encode())
    return manifest


def _put(pod: Pod, name: str, data: bytes) -> FileEntry:
    path = f"pod-{pod.folder.writer}/{name}"
    pod.folder.store.put(f"{pod.folder.place}/{path}", data)
    return FileEntry(name=name, path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_work_from_another_input_does_not_count_and_is_replaced_by_a_later_attempt(
    any_store: Store, tmp_path: Path
) -> None:
    old = Pod(any_store, tmp_path, writer="w1", config=TRAINING, input_digest=OTHER_INPUT)
    stale = old.folder.commit(old.files({"model/w": b"old"}), rows=1)
    new = Pod(any_store, tmp_path, writer="w2", config=LATER_ATTEMPT)
    assert new.folder.committed() is None
    done = new.folder.commit(new.files({"model/w": b"new"}), rows=1)
    assert new.folder.committed() == done
    # The leftover of the earlier attempt neither takes the pointer back nor loses its own immutable manifest.
    with pytest.raises(TemporaryFailure, match="attempt 2") as caught:
        Pod(any_store, tmp_path, writer="w3", config=TRAINING, input_digest=OTHER_INPUT).folder.commit(
            old.files({"model/w": b"older"}), rows=1
        )
    assert caught.value.reason == "Superseded"
    assert new.folder.committed() == done
    assert (
        any_store.get(f"{old.folder.place}/manifests/{stale.digest.removeprefix('sha256:')}.json") == stale.to_bytes()
    )


@pytest.mark.parametrize(
    "broken", [b"", b"{", b'{"manifest": 3}', b'{"manifest":"sha256:%s","attempt":1}' % (b"0" * 64)]
)
def test_a_pointer_that_names_nothing_is_none(store: Store, tmp_path: Path, broken: bytes) -> None:
    pod = Pod(store, tmp_path, config=TRAINING)
    store.put(pointer_key(pod.folder.place), broken)
    assert pod.folder.committed() is None
    done = pod.folder.commit(pod.files({"model/w": b"x"}), rows=1)
    assert pod.folder.committed() == done


def test_a_manifest_whose_bytes_are_not_its_digests_is_not_believed(store: Store, tmp_path: Path) -> None:
    pod = Pod(store, tmp_path, config=TRAINING)
    manifest = pod.folder.commit(pod.files({"model/w": b"x"}), rows=1)
    key = f"{pod.folder.place}/manifests/{manifest.digest.removeprefix('sha256:')}.json"
    store.put(key, manifest.model_copy(update={"rows": 2}).to_bytes())
    assert pod.folder.committed() is None
    committed = CommittedPhase(iteration=1, phase=Phase.TRAINING, manifest=manifest.digest)
    later = Pod(
        store,
        tmp_path,
        config=phase_config(phase="Generation", iteration=2).model_copy(update={"committed": (committed,)}),
    )
    with pytest.raises(InvalidInput) as caught:
        later.folder.manifest(Phase.TRAINING, 1)
    assert caught.value.reason == "CorruptArtifact"


def test_what_a_digest_names_but_is_gone_is_invalid_input(store: Store, tmp_path: Path) -> None:
    committed = CommittedPhase(iteration=1, phase=Phase.TRAINING, manifest=digest_of("gone"))
    pod = Pod(
        store,
        tmp_path,
        config=phase_config(phase="Generation", iteration=2).model_copy(update={"committed": (committed,)}),
    )
    with pytest.raises(InvalidInput, match="Training of iteration 1 is not at") as caught:
        pod.folder.manifest(Phase.TRAINING, 1)
    assert caught.value.reason == "MissingArtifact"
    with pytest.raises(InvalidInput, match="Scoring of iteration 1 is not among"):
        pod.folder.manifest(Phase.SCORING, 1)


def test_damaged_and_missing_files_are_named(store: Store, tmp_path: Path) -> None:
    pod = Pod(store, tmp_path, config=TRAINING)
    manifest = pod.folder.commit(pod.files({"model/w": b"xyz", "model/v": b"1"}), rows=1)
    store.put(f"{pod.folder.place}/pod-w1/model/w", b"abc")
    with pytest.raises(InvalidInput, match="SHA-256") as caught:
        pod.folder.fetch(manifest, "model/", tmp_path / "f")
    assert caught.value.reason == "CorruptArtifact"
    store.delete([f"{pod.folder.place}/pod-w1/model/w"])
    with pytest.raises(InvalidInput, match="model/w was committed") as caught:
        pod.folder.fetch(manifest, "model/", tmp_path / "f")
    assert caught.value.reason == "MissingArtifact"
    with pytest.raises(InvalidInput, match="no file under 'scorers/'"):
        pod.folder.fetch(manifest, "scorers/", tmp_path / "f")


def test_tables_carry_their_rows_and_are_read_back(store: Store, tmp_path: Path) -> None:
    pod = Pod(store, tmp_path, config=TRAINING)
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "t.parquet")
    manifest = pod.folder.commit({"t.parquet": tmp_path / "t.parquet"}, rows=3)
    assert manifest.file("t.parquet").rows == 3
    assert pod.folder.read_table(manifest, "t.parquet").to_pydict() == {"x": [1, 2, 3]}
    with pytest.raises(InvalidInput, match=r"no file 'u\.parquet'"):
        pod.folder.read_table(manifest, "u.parquet")


# Chunks


def _chunk(pod: Pod, chunk: int, data: bytes | None = None, **more: Any) -> ChunkManifest:
    contents = {"responses.parquet.json": data if data is not None else f"chunk {chunk}".encode()}
    return pod.folder.commit_chunk(chunk, pod.files(contents), rows=8, metrics={"tokens": 1.5 * chunk}, **more)


def test_whoever_sees_all_chunks_composes_the_phase(any_store: Store, tmp_path: Path) -> None:
    config = commit_preparation(any_store, 24)
    one, two = (Pod(any_store, tmp_path, writer=f"w{n}", config=config) for n in (1, 2))
    _chunk(one, 0)
    assert one.message == {"chunks": {"done": 1, "total": 3}}
    assert one.folder.compose(3) is None
    _chunk(two, 1)
    _chunk(one, 2)
    assert one.message == {"chunks": {"done": 3, "total": 3}}
    composed = one.folder.compose(3, lambda chunks: ({"mean": 2.0}, {"of": len(chunks)}))
    assert composed is not None
    assert [(entry.name, entry.path) for entry in composed.files] == [
        ("chunks/00000/responses.parquet.json", "pod-w1/chunks/00000/responses.parquet.json"),
        ("chunks/00001/responses.parquet.json", "pod-w2/chunks/00001/responses.parquet.json"),
        ("chunks/00002/responses.parquet.json", "pod-w1/chunks/00002/responses.parquet.json"),
    ]
    assert (composed.rows, composed.metrics) == (24, {"mean": 2.0})
    assert composed.facts == {"chunks": 3, "sums": {"tokens": 4.5}, "of": 3}
    assert two.folder.compose(3) == composed
    assert two.message["manifest"] == one.message["manifest"] == composed.digest


def test_a_committed_chunk_stands(any_store: Store, tmp_path: Path) -> None:
    config = commit_preparation(any_store, 24)
    first, zombie = (Pod(any_store, tmp_path, writer=writer, config=config) for writer in ("w1", "zombie"))
    done = _chunk(first, 1)
    before = {info.key: any_store.get(info.key) for info in any_store.list()}
    assert _chunk(zombie, 1, b"other") == done
    assert first.folder.chunks() == {1: done}
    assert {key: any_store.get(key) for key in before} == before


def test_chunks_of_another_input_do_not_count(store: Store, tmp_path: Path) -> None:
    config = commit_preparation(store, 24)
    old = Pod(store, tmp_path, writer="w1", config=config, input_digest=OTHER_INPUT)
    _chunk(old, 0)
    new = Pod(store, tmp_path, writer="w2", config=config.model_copy(update={"attempt": 2}))
    assert new.folder.chunks() == {}
    done = _chunk(new, 0)
    assert new.folder.chunks() == {0: done}


def test_a_chunk_that_was_uploaded_but_not_committed_does_not_count(store: Store, tmp_path: Path) -> None:
    config = commit_preparation(store, 24)
    pod = Pod(store, tmp_path, config=config)
    store.put(f"{pod.folder.place}/pod-w1/chunks/00000/responses.parquet", b"killed here")
    store.put(f"{pod.folder.place}/chunks/00001/manifests/{'0' * 64}.json", b"or here")
    assert pod.folder.chunks() == {}
    assert pod.folder.compose(1) is None


def test_the_composed_manifest_is_the_same_whoever_composes(tmp_path: Path) -> None:
    from selm_runtime.artifacts.compose import compose_manifest

    store = FileStore(tmp_path / "s")
    pod = Pod(store, tmp_path, config=commit_preparation(store, 24))
    chunks = {chunk: _chunk(pod, chunk) for chunk in (2, 0, 1)}
    shuffled = dict(sorted(chunks.items()))
    composed = [compose_manifest(Phase.GENERATION, 1, INPUT, its, 3) for its in (chunks, shuffled)]
    assert composed[0] is not None
    assert composed[1] is not None
    assert composed[0].to_bytes() == composed[1].to_bytes()


# Waiting for the store


def test_a_commit_waits_for_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELM_TIME_SCALE", "0.001")
    store = FileStore(tmp_path / "store")
    refusals = iter([True, True, False, False])
    upload = store.upload

    def flaky(path: Path, key: str) -> None:
        if next(refusals, False):
            raise TemporaryFailure("StoreUnavailable", "away")
        upload(path, key)

    monkeypatch.setattr(store, "upload", flaky)
    pod = Pod(store, tmp_path, config=TRAINING)
    assert pod.folder.commit(pod.files({"model/w": b"x"}), rows=1) == pod.folder.committed()


def test_a_store_that_stays_away_ends_as_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELM_TIME_SCALE", "0.001")
    store = FileStore(tmp_path / "store")

    def away(path: Path, key: str) -> None:
        raise TemporaryFailure("StoreUnavailable", "away")

    monkeypatch.setattr(store, "upload", away)
    pod = Pod(store, tmp_path, config=TRAINING)
    with pytest.raises(TemporaryFailure, match="away"):
        pod.folder.commit(pod.files({"model/w": b"x"}), rows=1)


# Portions and places


@pytest.mark.parametrize(("iteration", "portion"), [(1, 1), (2, 2), (3, 3), (4, 1), (8, 2)])
def test_iteration_t_takes_portion_t_minus_1_modulo_portions(iteration: int, portion: int) -> None:
    config = phase_config(phase="Generation", iteration=iteration, data={"portions": 3})
    assert portion_of(config) == portion
    assert portion_name(config) == f"rows/portion-{portion:04d}.parquet"


def test_the_layout_is_the_designs() -> None:
    assert phase_folder(TRAINING.run, Phase.TRAINING, 3) == "team/run-0001/iter-3/training"


def test_evaluation_reports_the_best_iteration_and_where_its_model_lies(store: Store, tmp_path: Path) -> None:
    trainer = Pod(store, tmp_path, config=TRAINING)
    trained = trainer.folder.commit(trainer.files({"model/config.json": b"{}"}), rows=1)
    committed = CommittedPhase(iteration=1, phase=Phase.TRAINING, manifest=trained.digest)
    config = phase_config(phase="Evaluation", iteration=1).model_copy(update={"committed": (committed,)})
    pod = Pod(store, tmp_path, writer="w9", config=config)
    pod.folder.commit({}, rows=0, facts={"bestIteration": 1})
    assert pod.message["bestIteration"] == 1
    assert pod.message["modelURI"] == store.uri_of("team/run-0001/iter-1/training/pod-w1/model")
