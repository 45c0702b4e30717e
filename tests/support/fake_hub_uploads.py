"""A hub in one process that takes pushes: what huggingface_hub asks for when it makes repositories and commits.

Endpoints and answers as `HfApi.create_repo`, `create_branch`, `model_info` and `create_commit` (with LFS) use them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from support.http_servers import QuietHandler, serving

TOKEN = "hf_of_the_owner"
LFS_BYTES = 1000
"""Files of at least so many bytes, and all safetensors, go by LFS."""
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[str] = field(default_factory=lambda: ["0" * 40])
    """Messages, the newest last; a commit's id is made from their number."""

    @property
    def head(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode(), usedforsecurity=False).hexdigest()


@dataclass
class UploadHub:
    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)
    """By a part of a request's line: the status that it is answered with."""


@contextmanager
def upload_hub() -> Iterator[UploadHub]:
    hub = UploadHub()

    class Handler(QuietHandler):
        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            line = f"{self.command} {path}"
            hub.requests.append(line)
            body = self.body()
            if f"Bearer {TOKEN}" != self.headers.get("Authorization") and not path.startswith("lfs/"):
                self.answer(401, {}, b'{"error": "who are you?"}')
            elif forced := next((status for part, status in hub.fails.items() if part in line), None):
                self.answer(forced, {}, b'{"error": "as told"}')
            else:
                self.answer(*_answer_of(hub, self.command, path, body))

        do_GET = do_POST = do_PUT = _answer

    with serving(Handler) as hub.endpoint:
        yield hub


def _answer_of(hub: UploadHub, method: str, path: str, body: bytes) -> Answer:
    if path == "api/repos/create":
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in hub.repositories:
            return _json({"url": f"{hub.endpoint}/{name}"}, 409)
        hub.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
        return _json({"url": f"{hub.endpoint}/{name}"})
    if path == "api/validate-yaml":
        return _json({"errors": [], "warnings": []})
    if method == "PUT" and path.startswith("lfs/"):
        assert hashlib.sha256(body).hexdigest() == path.removeprefix("lfs/")
        hub.lfs[path.removeprefix("lfs/")] = body
        return _json({})
    for name, repository in hub.repositories.items():
        if path == f"{name}.git/info/lfs/objects/batch":
            return _json({"transfer": "basic", "objects": [_lfs(hub, entry) for entry in json.loads(body)["objects"]]})
        if path.startswith(f"api/models/{name}"):
            return _of_repository(hub, repository, path.removeprefix(f"api/models/{name}").strip("/"), body)
    return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"


def _of_repository(hub: UploadHub, repository: Repository, what: str, body: bytes) -> Answer:
    verb, _, revision = what.partition("/")
    if verb == "branch":
        known = revision in repository.branches
        repository.branches.setdefault(revision, {})
        return _json({}, 409 if known else 200)
    files = repository.branches.get(revision or "main")
    if files is None:
        return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
    if verb in ("", "revision"):
        siblings = [{"rfilename": file} for file in files]
        return _json({"id": "x/y", "sha": repository.head, "private": repository.private, "siblings": siblings})
    if verb == "preupload":
        asked = json.loads(body)["files"]
        return _json({"files": [_preupload(files, entry) for entry in asked]})
    assert verb == "commit", what
    for line in body.splitlines():
        operation = json.loads(line)
        value = operation["value"]
        match operation["key"]:
            case "header":
                repository.commits.append(value["summary"])
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = hub.lfs[value["oid"]]
            case "deletedFile":
                del files[value["path"]]
    return _json({"commitUrl": f"{hub.endpoint}/x/y/commit/{repository.head}", "commitOid": repository.head})


def _preupload(files: dict[str, bytes], asked: dict[str, Any]) -> dict[str, Any]:
    path = asked["path"]
    lfs = path.endswith(".safetensors") or asked["size"] >= LFS_BYTES
    answer = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
    if path in files:
        data = files[path]
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        answer["oid"] = hashlib.sha256(data).hexdigest() if lfs else blob
    return answer


def _lfs(hub: UploadHub, asked: dict[str, Any]) -> dict[str, Any]:
    answer = {"oid": asked["oid"], "size": asked["size"]}
    if asked["oid"] not in hub.lfs:
        answer["actions"] = {"upload": {"href": f"{hub.endpoint}/lfs/{asked['oid']}"}}
    return answer


def _json(value: Any, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
