"""The embedded store: what was acknowledged is there after a kill, and nobody gets in without the key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from selm_local.launch import choose_port
from selm_local.s3.access import load_credentials
from selm_local.s3.bodies import Bodies

MIB = 1 << 20


class Server:
    """The store's daemon as a process of its own, on one port for its whole life."""

    def __init__(self, state: Path) -> None:
        self.state, self.port = state, choose_port(None, "the test")
        self.process: subprocess.Popen[bytes] | None = None
        (state / "s3").mkdir(parents=True)

    def start(self) -> None:
        command = [sys.executable, "-m", "selm_local", "s3", "--state", str(self.state), "--port", str(self.port)]
        self.process = subprocess.Popen(command)
        end = time.monotonic() + 60
        while True:
            try:
                self.client().list_buckets()
                return
            except EndpointConnectionError:
                assert time.monotonic() < end, "the store does not answer"
                time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def client(self, key: str | None = None, secret: str | None = None) -> Any:
        found = load_credentials(self.state / "s3")
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=key or found.access_key_id,
            aws_secret_access_key=secret or found.secret_access_key,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("store"))
    made.start()
    made.client().create_bucket(Bucket="bucket")
    yield made
    assert made.process is not None
    made.process.send_signal(signal.SIGTERM)
    assert made.process.wait(30) == 0, "SIGTERM ends it in order"


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def keys(client: Any, prefix: str) -> list[str]:
    return [one["Key"] for one in client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])]


def test_everything_acknowledged_survives_a_kill(server: Server) -> None:
    client = server.client()
    client.put_object(Bucket="bucket", Key="k/a b+c", Body=b"one", Metadata={"note_x": "y"}, ContentType="text/plain")
    client.put_object(Bucket="bucket", Key="k/empty", Body=b"")
    client.put_object(Bucket="bucket", Key="k/over", Body=b"old")
    client.put_object(Bucket="bucket", Key="k/over", Body=b"new")
    client.copy_object(Bucket="bucket", Key="k/copy", CopySource={"Bucket": "bucket", "Key": "k/a b+c"})
    client.put_object(Bucket="bucket", Key="k/gone", Body=b"x")
    client.delete_object(Bucket="bucket", Key="k/gone")
    for name in ("k/d1", "k/d2"):
        client.put_object(Bucket="bucket", Key=name, Body=b"x")
    client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k/d1"}, {"Key": "k/d2"}]})
    before = client.head_object(Bucket="bucket", Key="k/a b+c")
    bodies = Bodies(server.state / "s3" / "bodies")
    stray = bodies.write([b"written, never acknowledged"])
    server.restart()
    assert bodies.size(stray) is None, "a body that no record names is swept at the start"
    client = server.client()
    assert keys(client, "k/") == ["k/a b+c", "k/copy", "k/empty", "k/over"]
    after = client.get_object(Bucket="bucket", Key="k/a b+c")
    assert after["Body"].read() == b"one"
    for name in ("ETag", "Metadata", "ContentType", "LastModified", "ContentLength"):
        assert after[name] == before[name], name
    assert client.get_object(Bucket="bucket", Key="k/over")["Body"].read() == b"new"
    assert client.get_object(Bucket="bucket", Key="k/copy")["Body"].read() == b"one"
    assert client.get_object(Bucket="bucket", Key="k/empty")["Body"].read() == b""


def test_a_multipart_upload_goes_on_after_a_kill_and_its_object_stays(server: Server) -> None:
    client = server.client()
    upload = client.create_multipart_upload(Bucket="bucket", Key="m/big", Metadata={"a": "b"})["UploadId"]
    first, second = os.urandom(6 * MIB), os.urandom(MIB)
    target = {"Bucket": "bucket", "Key": "m/big", "UploadId": upload}
    tags = [client.upload_part(**target, PartNumber=1, Body=first)["ETag"]]
    server.restart()
    client = server.client()
    tags.append(client.upload_part(**target, PartNumber=2, Body=second)["ETag"])
    parts = {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]}
    made = client.complete_multipart_upload(**target, MultipartUpload=parts)
    assert made["ETag"].endswith('-2"')
    server.restart()
    client = server.client()
    again = client.complete_multipart_upload(**target, MultipartUpload=parts)
    assert again["ETag"] == made["ETag"], "an answer that was lost can be asked for again"
    found = client.get_object(Bucket="bucket", Key="m/big")
    assert found["Body"].read() == first + second
    assert found["Metadata"] == {"a": "b"}
    assert client.get_object(Bucket="bucket", Key="m/big", Range="bytes=100-199")["Body"].read() == first[100:200]
    wide = client.get_object(Bucket="bucket", Key="m/big", Range=f"bytes=10-{5 * MIB + 9}")
    assert wide["Body"].read() == first[10 : 5 * MIB + 10]


def test_parts_of_a_finished_or_aborted_upload_leave_nothing_on_disk(server: Server) -> None:
    client = server.client()
    bodies = server.state / "s3" / "bodies"

    def count() -> int:
        return sum(1 for _ in bodies.glob("*/*"))

    before = count()
    upload = client.create_multipart_upload(Bucket="bucket", Key="a/x")["UploadId"]
    for _ in range(2):  # the second replaces the first
        client.upload_part(Bucket="bucket", Key="a/x", UploadId=upload, PartNumber=1, Body=b"x" * 10)
    client.abort_multipart_upload(Bucket="bucket", Key="a/x", UploadId=upload)
    assert count() == before
    with pytest.raises(ClientError) as error:
        client.complete_multipart_upload(
            Bucket="bucket", Key="a/x", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "x"}]}
        )
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 400


def test_one_of_many_conditional_writers_wins(server: Server) -> None:
    clients = [server.client() for _ in range(12)]

    def write(number: int) -> bool:
        try:
            body = f"{number}".encode() * 200_000
            clients[number].put_object(Bucket="bucket", Key="c/pointer", Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        won = [number for number, result in enumerate(pool.map(write, range(12))) if result]
    assert len(won) == 1
    assert server.client().get_object(Bucket="bucket", Key="c/pointer")["Body"].read()[:1] == f"{won[0]}"[:1].encode()


def test_a_kill_in_the_middle_of_writes_loses_none_that_was_acknowledged(server: Server) -> None:
    acknowledged: list[int] = []
    server.client().put_object(Bucket="bucket", Key="w/pointer", Body=b"first", IfNoneMatch="*")

    def writer(base: int) -> None:
        client = server.client()
        for number in range(base, base + 1000):
            try:
                client.put_object(Bucket="bucket", Key=f"w/{number:05}", Body=f"{number}".encode() * 100)
            except Exception:  # noqa: BLE001 - the server was killed, that is the point
                return
            acknowledged.append(number)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(writer, base) for base in (0, 10_000, 20_000)]
        while len(acknowledged) < 30:
            time.sleep(0.01)
        server.kill()
        for future in futures:
            future.result()
    server.start()
    client = server.client()
    for number in acknowledged:
        assert client.get_object(Bucket="bucket", Key=f"w/{number:05}")["Body"].read() == f"{number}".encode() * 100
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket="bucket", Key="w/pointer", Body=b"late", IfNoneMatch="*")
    assert code_of(error) == "PreconditionFailed", "a condition holds across restarts"


@pytest.mark.parametrize(
    ("sentence", "key", "secret", "code"),
    [
        ("a wrong secret", None, "wrong", "SignatureDoesNotMatch"),
        ("an unknown key", "AKIAIOSFODNN7EXAMPLE", "wrong", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_refused(server: Server, sentence: str, key: str | None, secret: str, code: str) -> None:
    with pytest.raises(ClientError) as error:
        server.client(key, secret).put_object(Bucket="bucket", Key="x", Body=b"x")
    assert code_of(error) == code, sentence
    with pytest.raises(ClientError):
        server.client(key, secret).list_objects_v2(Bucket="bucket")


def test_unsigned_requests_are_refused(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    session = requests.Session()
    session.trust_env = False
    for method, path in (("GET", "/bucket"), ("PUT", "/bucket/y"), ("GET", "/"), ("POST", "/moto-api/reset")):
        assert session.request(method, url + path, data=b"x").status_code in (403, 404), path
    presigned = server.client().generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "x"})
    assert session.get(presigned).status_code == 403
    assert server.client().list_buckets()["Buckets"][0]["Name"] == "bucket", "nothing was reset"


def test_what_would_be_forgotten_is_refused(server: Server) -> None:
    with pytest.raises(ClientError) as error:
        server.client().put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    assert code_of(error) == "NotImplemented"
    assert "would not survive a restart" in str(error.value)


def test_a_missing_bucket_is_named(server: Server) -> None:
    with pytest.raises(ClientError) as error:
        server.client().put_object(Bucket="no-such-bucket", Key="x", Body=b"x")
    assert code_of(error) == "NoSuchBucket"


def test_large_objects_go_through_in_parts(server: Server, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(40 * MIB))
    config = TransferConfig(multipart_chunksize=8 * MIB, multipart_threshold=8 * MIB)
    client = server.client()
    client.upload_file(str(source), "bucket", "large", Config=config)
    client.download_file("bucket", "large", str(target), Config=config)
    assert source.read_bytes() == target.read_bytes()
