"""Both stores keep one contract; the S3 store also on servers that fall short of it."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from selm_runtime.artifacts import s3_store
from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.s3_store import S3Store
from selm_runtime.artifacts.store import Corrupt, NotFound, Store, open_store, open_uri
from selm_runtime.contract import ArtifactsConfig
from selm_runtime.errors import STORE_UNAVAILABLE, InvalidInput, TemporaryFailure
from support.moto_s3 import REGION, S3Server, s3_server

BUCKET = "selm"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        yield running


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(s3_store, "MOST_ATTEMPTS", 2)


@pytest.fixture
def s3(server: S3Server, request: pytest.FixtureRequest) -> Iterator[S3Store]:
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION)
    client.create_bucket(Bucket=BUCKET)
    faults = server.faults
    faults.requests.clear()
    yield S3Store(BUCKET, request.node.name.replace("[", "-").replace("]", ""), endpoint=server.endpoint)
    faults.ignore_conditions = faults.refuse_conditions = faults.refuse_copies = faults.refuse_credentials = False
    faults.away = faults.break_bodies = 0


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return FileStore(tmp_path / "store")
    s3_of_test: S3Store = request.getfixturevalue("s3")
    return s3_of_test


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_what_is_put_is_got(store: Store) -> None:
    assert store.put("a/b", b"one")
    assert store.get("a/b") == b"one"
    assert store.put("a/b", b"two")
    assert store.get("a/b") == b"two"


def test_an_absent_object_is_not_found(store: Store) -> None:
    for read in (store.get, lambda key: store.download(key, Path("/dev/null"))):
        with pytest.raises(NotFound):
            read("a/none")
    assert store.stat("a/none") is None
    with pytest.raises(NotFound):
        store.copy("a/none", "b")


def test_put_if_absent_has_one_winner(store: Store) -> None:
    assert store.put("k", b"first", if_absent=True)
    assert not store.put("k", b"second", if_absent=True)
    assert store.get("k") == b"first"


def test_list_gives_keys_in_order_below_a_prefix(store: Store) -> None:
    for key in ("b/2", "b/10", "b/1", "bc/1", "a"):
        store.put(key, key.encode())
    assert [info.key for info in store.list("b/")] == ["b/1", "b/10", "b/2"]
    assert [info.key for info in store.list("b")] == ["b/1", "b/10", "b/2", "bc/1"]
    assert next((info.key, info.size) for info in store.list()) == ("a", 1)
    assert list(store.list("none/")) == []


def test_files_go_up_and_down_and_are_verified(store: Store, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    store.upload(_file(tmp_path / "up", data), "models/weights")
    target = tmp_path / "deep" / "down"
    store.download("models/weights", target, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert target.read_bytes() == data
    info = store.stat("models/weights")
    assert info is not None
    assert info.size == len(data)


@pytest.mark.parametrize("wrong", [{"size": 3}, {"sha256": "0" * 64}])
def test_a_download_that_does_not_verify_leaves_nothing(store: Store, tmp_path: Path, wrong: dict[str, object]) -> None:
    store.put("k", b"data")
    with pytest.raises(Corrupt):
        store.download("k", tmp_path / "here" / "down", **wrong)  # type: ignore[arg-type]
    assert list((tmp_path / "here").iterdir()) == []


def test_copies_and_deletes(store: Store) -> None:
    store.put("a/x", b"data")
    store.copy("a/x", "b/y")
    store.copy("a/x", "b/y")  # over itself: nothing is lost, nothing is left beside it
    store.delete(["a/x", "a/never-there"])
    assert [info.key for info in store.list()] == ["b/y"]
    assert store.get("b/y") == b"data"


def test_uris(server: S3Server, tmp_path: Path) -> None:
    assert FileStore(tmp_path).uri_of("a/b") == f"file://{tmp_path}/a/b"
    assert S3Store("bucket", "deep/prefix").uri_of("a/b") == "s3://bucket/deep/prefix/a/b"
    assert S3Store("bucket").uri_of("a") == "s3://bucket/a"
    assert isinstance(open_store(ArtifactsConfig(uri="s3://bucket/x/")), S3Store)
    assert isinstance(open_uri("file:///some/where", field="spec.model.uri"), FileStore)


@pytest.mark.parametrize("uri", ["http://x/y", "s3:///key", "file://host/x", "relative", "gs://b"])
def test_other_uris_are_refused_with_the_field(uri: str) -> None:
    with pytest.raises(InvalidInput, match=r"spec\.model\.uri: found .* allowed are s3://"):
        open_uri(uri, field="spec.model.uri")


# File systems


def test_a_key_never_leaves_its_store(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stays below"):
        FileStore(tmp_path / "store").put("../outside", b"")


def test_a_copy_shares_the_bytes_but_not_the_fate(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("a", b"data")
    store.copy("a", "b")
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino
    store.put("a", b"other")  # replaces the name, not the file behind both
    assert store.get("b") == b"data"


def test_without_hard_links_exclusive_create_and_copies_still_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = FileStore(tmp_path)
    assert store.put("k", b"first", if_absent=True)
    assert not store.put("k", b"second", if_absent=True)
    store.copy("k", "c")
    assert (store.get("k"), store.get("c")) == (b"first", b"first")


def test_unfinished_files_are_neither_listed_nor_kept(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("a/k", b"data")
    (tmp_path / "a" / ".unfinished-killed").write_bytes(b"half")
    assert [info.key for info in store.list()] == ["a/k"]
    store.abort_unfinished("a/", older_than_seconds=3600)
    assert (tmp_path / "a" / ".unfinished-killed").exists()
    store.abort_unfinished("a/")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["k"]


def test_a_path_through_a_file_is_refused_with_the_field(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((InvalidInput, NotFound)):
        FileStore(tmp_path / "file").put("k", b"")


# S3 servers


def test_a_missing_bucket_names_the_field(server: S3Server) -> None:
    store = S3Store("nowhere", endpoint=server.endpoint)
    for ask in (lambda: store.put("k", b""), lambda: store.get("k"), lambda: list(store.list())):
        with pytest.raises(InvalidInput, match=r"spec\.artifacts\.uri: bucket 'nowhere' does not exist") as caught:
            ask()
        assert caught.value.reason == "BucketNotFound"


def test_refused_credentials_name_the_secret(server: S3Server, s3: S3Store, tmp_path: Path) -> None:
    server.faults.refuse_credentials = True
    file = _file(tmp_path / "f", b"x")
    for ask in (lambda: s3.put("k", b""), lambda: s3.stat("k"), lambda: s3.upload(file, "k")):
        with pytest.raises(InvalidInput, match=r"spec\.artifacts\.credentialsSecretRef") as caught:
            ask()
        assert caught.value.reason == "CredentialsRefused"


def test_missing_credentials_name_the_secret(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(InvalidInput, match=r"spec\.artifacts\.credentialsSecretRef"):
        S3Store(BUCKET, endpoint=server.endpoint).get("k")


def test_an_endpoint_that_is_no_url_names_the_field() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.artifacts\.endpoint: found 'nonsense'"):
        S3Store(BUCKET, endpoint="nonsense").get("k")


def test_a_store_that_is_away_is_temporary(server: S3Server, s3: S3Store, tmp_path: Path) -> None:
    file = _file(tmp_path / "f", b"x")
    for ask in (lambda: s3.put("k", b""), lambda: s3.upload(file, "k"), lambda: list(s3.list())):
        server.faults.away = 2
        with pytest.raises(TemporaryFailure):
            ask()
    with pytest.raises(TemporaryFailure):
        S3Store(BUCKET, endpoint="http://127.0.0.1:9").get("k")


def test_a_store_that_takes_requests_and_never_answers_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        store = S3Store(BUCKET, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        for ask in (lambda: store.get("a"), lambda: store.put("a", b"x"), lambda: list(store.list(""))):
            with pytest.raises(TemporaryFailure) as failure:
                ask()
            assert failure.value.reason == STORE_UNAVAILABLE


def test_one_failed_answer_is_retried(server: S3Server, s3: S3Store) -> None:
    server.faults.away = 1
    assert s3.put("k", b"data")
    assert s3.get("k") == b"data"


def test_the_environments_endpoint_counts_where_the_spec_names_none(
    server: S3Server, s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    assert open_store(ArtifactsConfig(uri=f"s3://{BUCKET}/env")).put("k", b"data")
    assert server.faults.requests[-1][1] == f"/{BUCKET}/env/k"  # by path: no bucket in the host's name


def test_a_server_without_conditional_writes_is_asked_first(server: S3Server, s3: S3Store) -> None:
    server.faults.refuse_conditions = True
    assert s3.put("k", b"first", if_absent=True)
    assert not s3.put("k", b"second", if_absent=True)
    assert s3.get("k") == b"first"


def test_a_server_without_copies_gets_the_bytes_from_here(server: S3Server, s3: S3Store) -> None:
    server.faults.refuse_copies = True
    s3.put("a", b"data")
    s3.copy("a", "b")
    assert s3.get("b") == b"data"


def test_a_copy_beyond_the_limit_goes_by_parts(server: S3Server, s3: S3Store, tmp_path: Path) -> None:
    data = os.urandom(11 << 20)
    s3.upload(_file(tmp_path / "f", data), "big")
    by_parts = S3Store(BUCKET, s3.uri.rpartition("/")[2], endpoint=server.endpoint, single_copy_bytes=5 << 20)
    server.faults.requests.clear()
    by_parts.copy("big", "copied")
    parts = [path for method, path, _ in server.faults.requests if method == "PUT" and "partNumber=" in path]
    assert len(parts) == 3
    assert by_parts.get("copied") == data


def test_large_files_go_up_in_parts_of_64_mib(
    server: S3Server, s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert s3_store.PART_BYTES == 64 << 20
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 << 20)
    data = os.urandom(12 << 20)
    s3.upload(_file(tmp_path / "f", data), "big")
    parts = [path for method, path, _ in server.faults.requests if method == "PUT" and "partNumber=" in path]
    assert len(parts) == 3
    s3.download("big", tmp_path / "down", size=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_a_broken_stream_is_taken_up_where_it_broke(server: S3Server, s3: S3Store, tmp_path: Path) -> None:
    data = os.urandom(2 << 20)
    s3.upload(_file(tmp_path / "f", data), "k")
    server.faults.break_bodies = 2
    server.faults.requests.clear()
    s3.download("k", tmp_path / "down", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    ranges = [headers.get("HTTP_RANGE") for _, _, headers in server.faults.requests]
    assert ranges == [None, f"bytes={1 << 20}-", f"bytes={(1 << 20) + (1 << 19)}-"]
    server.faults.break_bodies = 1
    assert s3.get("k") == data


def test_uploads_that_a_kill_orphaned_are_aborted(server: S3Server, s3: S3Store) -> None:
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION)
    prefix = s3.uri.rpartition("/")[2]
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/run/phase/big")
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/run/other/big")
    s3.abort_unfinished("run/phase/", older_than_seconds=30 * 365 * 86400)  # moto says that all began in 2010
    assert len(client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]) == 2
    s3.abort_unfinished("run/phase/")
    left = [upload["Key"] for upload in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]
    assert left == [f"{prefix}/run/other/big"]


def test_looking_for_orphans_never_fails(server: S3Server, s3: S3Store) -> None:
    server.faults.refuse_credentials = True
    s3.abort_unfinished("run/")


def test_no_checksums_of_the_server_are_asked_for(server: S3Server, s3: S3Store) -> None:
    s3.put("k", b"data")
    s3.get("k")
    sent = {name for _, _, headers in server.faults.requests for name in headers}
    assert not any("CHECKSUM" in name or "TRAILER" in name for name in sent)


def test_a_range_is_read_or_what_there_is_of_it(store: Store) -> None:
    store.put("a/b", bytes(range(100)))
    assert store.read("a/b", 10, 5) == bytes(range(10, 15))
    assert store.read("a/b", 0, 100) == bytes(range(100))
    assert store.read("a/b", 95, 50) == bytes(range(95, 100))
    assert store.read("a/b", 100, 50) == b""
    with pytest.raises(NotFound):
        store.read("a/c", 0, 1)


def test_a_range_is_taken_up_where_its_connection_broke(s3: S3Store, server: S3Server) -> None:
    data = os.urandom(1 << 20)
    s3.put("k", data)
    server.faults.requests.clear()
    server.faults.break_bodies = 2
    assert s3.read("k", 1000, 900_000) == data[1000:901_000]
    ranges = [headers["HTTP_RANGE"] for method, _, headers in server.faults.requests if method == "GET"]
    assert ranges[0] == "bytes=1000-900999"
    assert len(ranges) == 3
    assert ranges[2].endswith("-900999")
    server.faults.away = 1
    assert s3.read("k", 0, 10) == data[:10]
