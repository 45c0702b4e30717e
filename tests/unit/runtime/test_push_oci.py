"""Pushing a model to an OCI registry: a fake one that misbehaves as told, and the real one where it is installed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from selm_runtime.contract import (
    ENV_REGISTRY_CONFIG,
    ENV_REGISTRY_PASSWORD,
    ENV_REGISTRY_USERNAME,
    ENV_TIME_SCALE,
)
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.push.card import digests
from selm_runtime.push.credentials import NONE, Credentials, credentials_for
from selm_runtime.push.oci import ARTIFACT_TYPE, FILE_PATH, RECIPE, push_to_registry
from selm_runtime.push.place import Place
from selm_runtime.push.registry import MOST_ATTEMPTS
from selm_runtime.push.targets import Pushed
from support.fake_registry import IDENTITY, PASSWORD, USER, FakeRegistry, fake_registry
from support.oci_push import NAME, facts
from support.real_registry import PROGRAM, real_registry
from support.tls_server import tls_server

RECIPE_OF_FACTS = {
    "seed": 7,
    "model": {"uri": "s3://… (not public)"},
    "training": {"objective": {"type": "SELM"}},
}
KEYS = {ENV_REGISTRY_USERNAME: USER, ENV_REGISTRY_PASSWORD: PASSWORD}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_TIME_SCALE, "0.001")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"a": 1}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4000)
    (folder / "README.md").write_text("# the card\n")
    return folder


def push(host: str, folder: Path, environment: Mapping[str, str] | None = None, **options: Any) -> Pushed:
    settings = {"field": "spec.push.uri", "plain_http": True, "environment": environment or {}, **options}
    return push_to_registry(folder, f"oci://{host}/{NAME}:v1", facts(), **settings)


def whole(folder: Path, manifest: Mapping[str, Any], blob: Any) -> None:
    """The artifact's layers are the folder's files and the recipe; `blob` gives a blob's bytes by digest."""
    assert manifest["artifactType"] == ARTIFACT_TYPE
    files = {layer["annotations"][FILE_PATH]: layer for layer in manifest["layers"]}
    assert files.keys() == {*(path.name for path in folder.iterdir()), RECIPE}
    for path in folder.iterdir():
        assert blob(files[path.name]["digest"]) == path.read_bytes()
        assert files[path.name]["size"] == path.stat().st_size
    kinds = {name: layer["mediaType"] for name, layer in files.items()}
    assert kinds["model.safetensors"] == "application/vnd.cncf.model.weight.v1.raw"
    assert kinds["config.json"] == "application/vnd.cncf.model.weight.config.v1.raw"
    assert kinds["README.md"] == "application/vnd.cncf.model.doc.v1.raw"
    config = json.loads(blob(manifest["config"]["digest"]))
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in manifest["layers"]]}
    assert config["descriptor"] == {"name": "zephyr", "version": "iteration-1"}
    assert yaml.safe_load(blob(files[RECIPE]["digest"])) == RECIPE_OF_FACTS


def test_the_tag_names_every_file_the_recipe_and_the_digests(registry: FakeRegistry, model: Path) -> None:
    pushed = push(registry.host, model)
    stored = registry.manifests[f"{NAME}:v1"]
    assert pushed == Pushed(f"oci://{registry.host}/{NAME}:v1", f"sha256:{hashlib.sha256(stored).hexdigest()}", True)
    manifest = json.loads(stored)
    whole(model, manifest, registry.blobs.__getitem__)
    annotations = manifest["annotations"]
    assert annotations["dev.selm.iteration"] == "1"
    assert {digest for _, digest in digests(facts())} <= set(annotations.values())
    assert registry.sent()[-1] == f"PUT /v2/{NAME}/manifests/v1"
    assert not any(b"secret-bucket" in blob for blob in (*registry.blobs.values(), stored))


def test_again_changes_nothing_and_other_weights_send_themselves_alone(registry: FakeRegistry, model: Path) -> None:
    first = push(registry.host, model)
    registry.requests.clear()
    again = push(registry.host, model)
    assert (again.revision, again.changed) == (first.revision, False)
    assert registry.sent() == []
    (model / "model.safetensors").write_bytes(b"other")
    assert push(registry.host, model).changed
    assert len(registry.sent()) == 3  # weights, configuration, manifest
    whole(model, json.loads(registry.manifests[f"{NAME}:v1"]), registry.blobs.__getitem__)


def test_blobs_are_streamed(registry: FakeRegistry, model: Path) -> None:
    large = 64 << 20
    with (model / "model.safetensors").open("wb") as file:
        file.truncate(large)
    tracemalloc.start()
    try:
        push(registry.host, model)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert large in registry.sizes.values()
    assert peak < large / 4


def test_a_push_that_is_killed_leaves_the_tag_as_it_was_and_the_next_one_is_whole(
    registry: FakeRegistry, model: Path
) -> None:
    before = push(registry.host, model)
    (model / "config.json").write_text('{"new": 1}')
    (model / "model.safetensors").write_bytes(bytes(32 << 20))  # more than any socket's buffers hold
    registry.holds_at, registry.keeps = 1_000_000, 64 << 20
    command = [sys.executable, "-m", "support.oci_push", registry.host, str(model)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert registry.held.wait(120)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    registry.goes_on.set()
    registry.holds_at = None
    stored = registry.manifests[f"{NAME}:v1"]
    assert f"sha256:{hashlib.sha256(stored).hexdigest()}" == before.revision
    registry.requests.clear()
    assert push(registry.host, model).changed
    assert len(registry.sent()) == 3  # weights, configuration, manifest: the file that had arrived is not sent again
    whole(model, json.loads(registry.manifests[f"{NAME}:v1"]), registry.blobs.__getitem__)


@pytest.mark.parametrize("status", [0, 429, 503])
def test_what_breaks_off_is_begun_again(registry: FakeRegistry, model: Path, status: int) -> None:
    most = MOST_ATTEMPTS - 1
    uploads = {"POST": most // 2, "PUT /v2/team/aligned/blobs": most - most // 2}  # an upload is both
    for part, times in {**uploads, "HEAD": most, "PUT /v2/team/aligned/manifests": most}.items():
        registry.fails[part] = [status] * times
    assert push(registry.host, model).changed
    whole(model, json.loads(registry.manifests[f"{NAME}:v1"]), registry.blobs.__getitem__)


def test_a_registry_that_stays_away_is_temporary(registry: FakeRegistry, model: Path) -> None:
    registry.fails["PUT"] = [503] * 100
    with pytest.raises(TemporaryFailure, match=r"spec\.push\.uri: no push to oci://.* now: it answers 503: TOLD"):
        push(registry.host, model)
    assert registry.manifests == {}
    with pytest.raises(TemporaryFailure, match="does not answer"):
        push("127.0.0.1:9", model)
    with pytest.raises(TemporaryFailure, match="does not answer"):
        push("nowhere.invalid", model)


def test_a_repository_that_a_push_does_not_make(registry: FakeRegistry, model: Path) -> None:
    registry.names = ("other/name",)
    with pytest.raises(
        InvalidInput, match=r"has no repository team/aligned and makes none by a push \(404: NAME_UNKNOWN"
    ):
        push(registry.host, model)


def test_a_refusal_is_told_in_the_registrys_words(registry: FakeRegistry, model: Path) -> None:
    registry.fails["PUT"] = [413]
    with pytest.raises(InvalidInput, match=r"v1 is refused \(413: TOLD: told\)"):
        push(registry.host, model)


# Credentials


def docker_config(host: str, **entry: str) -> dict[str, str]:
    return {ENV_REGISTRY_CONFIG: json.dumps({"auths": {host: entry}})}


@pytest.mark.parametrize("auth", ["Basic", "Bearer"])
def test_credentials_are_shown_where_they_are_asked_for(auth: str, model: Path) -> None:
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    with fake_registry(auth) as registry:
        assert push(registry.host, model, KEYS).changed
        assert not push(registry.host, model, docker_config(f"https://{registry.host}/v2/", auth=pair)).changed


def test_an_identity_token_is_exchanged(model: Path) -> None:
    with fake_registry("Bearer") as registry:
        assert push(registry.host, model, docker_config(registry.host, identitytoken=IDENTITY)).changed


@pytest.mark.parametrize("auth", ["Basic", "Bearer"])
def test_wrong_credentials_are_told_without_them(auth: str, model: Path) -> None:
    with fake_registry(auth) as registry:
        wrong = {**KEYS, ENV_REGISTRY_PASSWORD: "not-the-one"}
        with pytest.raises(
            InvalidInput, match=r"spec\.push\.uri: .* does not let user 'pusher' push to .* \(401"
        ) as caught:
            push(registry.host, model, wrong)
        assert "not-the-one" not in str(caught.value)
        with pytest.raises(InvalidInput, match="does not let whoever shows no credentials push"):
            push(registry.host, model)
        assert registry.sizes == {}


@pytest.mark.parametrize("head", [200, 403])
def test_blobs_in_an_object_store_to_which_the_registry_leads_are_not_sent_again(head: int, model: Path) -> None:
    with fake_registry("Basic") as registry, fake_registry() as store:
        registry.store_host, store.stored_head = f"http://{store.host}", head
        push(registry.host, model, KEYS)
        assert not store.requests, "nothing was there"
        sent = registry.sent()
        push(registry.host, model, KEYS)
        assert [line for line in registry.sent()[len(sent) :] if "/blobs/" in line] == []
        assert store.requests
        assert store.shown == [], "credentials are the registry's alone"


def test_an_upload_whose_end_came_through_is_not_sent_again(registry: FakeRegistry, model: Path) -> None:
    registry.loses_answers = 1
    push(registry.host, model)
    uploads = [line for line in registry.sent() if "/blobs/" in line]
    assert len(uploads) == len(registry.sizes)


def test_a_registry_that_leads_pushes_elsewhere_is_told(registry: FakeRegistry, model: Path) -> None:
    registry.redirects = "http://other.example"
    with pytest.raises(InvalidInput, match=r"takes no push and leads to http://other\.example \(308\)"):
        push(registry.host, model)


def test_an_upload_that_is_led_elsewhere_takes_no_credentials_along(model: Path) -> None:
    with fake_registry("Basic") as registry, fake_registry("Basic") as elsewhere:
        registry.upload_host = f"http://{elsewhere.host}"
        with pytest.raises(InvalidInput, match=r"\(401"):
            push(registry.host, model, KEYS)
        elsewhere.auth = ""
        elsewhere.sizes = registry.sizes  # one storage behind both
        elsewhere.blobs = registry.blobs
        assert push(registry.host, model, KEYS).changed


def test_credentials_of_a_docker_configuration() -> None:
    auths = {
        "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
        "registry.example": {"username": "all", "password": "p"},
        "registry.example/team": {"username": "team", "password": "p"},
        "registry.example/team/al": {"username": "none", "password": "p"},
    }
    text = {ENV_REGISTRY_CONFIG: json.dumps({"auths": auths})}

    def user(host: str, name: str = NAME) -> str | None:
        return credentials_for(host, name, text).username

    assert (user("registry.example"), user("registry.example", "other/x")) == ("team", "all")
    assert (user("docker.io"), user("registry.example.org")) == ("hub", None)
    assert credentials_for("x", NAME, {}) == NONE
    assert credentials_for("registry.example", NAME, {**text, **KEYS}) == Credentials(USER, PASSWORD)
    assert PASSWORD not in repr(Credentials(USER, PASSWORD))
    for bad in ("[]", "{", '{"auths": {"x": {"auth": "?"}}}', '{"auths": {"x": 1}}'):
        with pytest.raises(InvalidInput, match=r"\.dockerconfigjson"):
            credentials_for("x", NAME, {ENV_REGISTRY_CONFIG: bad})


# TLS


def test_plain_http_only_where_it_is_declared(registry: FakeRegistry, model: Path) -> None:
    with pytest.raises(InvalidInput, match="does not speak TLS; allowed where plain HTTP is declared"):
        push(registry.host, model, plain_http=False)
    assert registry.requests == []


def test_a_certificate_that_nobody_knows_is_refused(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    with tls_server(tmp_path) as host, pytest.raises(InvalidInput, match=r"certificate of .* is not trusted"):
        push(host, model, plain_http=False)


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("oci://r.example/a", Place("r.example", "a", "latest")),
        ("oci://localhost:5000/team/a_b.c--d:v1.0", Place("localhost:5000", "team/a_b.c--d", "v1.0")),
    ],
)
def test_places(uri: str, place: Place) -> None:
    assert Place.of(uri, "x") == place


@pytest.mark.parametrize(
    "uri", ["oci://r", "oci://r/", "oci://r/A", "oci://r/a:", "oci://r/a@sha256:0", "oci://u:p@r/a"]
)
def test_what_is_no_place(uri: str) -> None:
    with pytest.raises(InvalidInput, match=r"x: found .* allowed is oci://<registry>/<name>"):
        Place.of(uri, "x")


# The real one


@pytest.mark.skipif(PROGRAM is None, reason="docker-registry is not installed")
def test_the_distribution_projects_registry_takes_it(model: Path, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    with real_registry(tmp_path / "registry") as host:
        pushed = push(host, model)
        assert pushed.changed
        assert not push(host, model).changed

        def get(what: str) -> bytes:
            request = urllib.request.Request(
                f"http://{host}/v2/{NAME}/{what}", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                found: bytes = answer.read()
            return found

        stored = get("manifests/v1")
        assert pushed.revision == f"sha256:{hashlib.sha256(stored).hexdigest()}"
        whole(model, json.loads(stored), lambda digest: get(f"blobs/{digest}"))
