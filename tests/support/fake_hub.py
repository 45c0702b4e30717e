"""A hub in one process: the few answers of the Hugging Face hub's API that a download needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from support.http_servers import QuietHandler, serving

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """Repositories by kind and name (`models/a/b`, `datasets/a/b`), each with one revision, `main`."""

    repositories: dict[str, Mapping[str, bytes]]
    endpoint: str = ""
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)


@contextmanager
def fake_hub(repositories: dict[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    hub = Hub(repositories)

    class Handler(QuietHandler):
        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.requests.append(f"{self.command} {path}")
            self.answer(*_answer_of(hub, path, self.body()))

        do_GET = do_HEAD = do_POST = _answer

    with serving(Handler) as hub.endpoint:
        yield hub


def _answer_of(hub: Hub, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    for name, files in hub.repositories.items():
        kind, repository = name.split("/", 1)
        short = repository if kind == "models" else f"datasets/{repository}"
        if path in (
            f"api/{kind}/{repository}",
            *(f"api/{kind}/{repository}/revision/{rev}" for rev in ("main", COMMIT)),
        ):
            if repository in hub.gated:
                return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
            siblings = [{"rfilename": file, "size": len(data)} for file, data in files.items()]
            return _json({"id": repository, "sha": COMMIT, "siblings": siblings, "private": False, "gated": False})
        if path.startswith(f"api/{kind}/{repository}/revision/"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if path.startswith(f"api/{kind}/{repository}/tree/"):
            folder = path.removeprefix(f"api/{kind}/{repository}/tree/").partition("/")[2]
            return _json(_children(files, f"{folder}/" if folder else ""))
        if path.startswith(f"api/{kind}/{repository}/paths-info/"):
            asked = json.loads(body)["paths"] if body else []
            return _json([_entry(file, files[file]) for file in asked if file in files])
        for revision in ("main", COMMIT):
            prefix = f"{short}/resolve/{revision}/"
            if path.startswith(prefix):
                data = files.get(path.removeprefix(prefix))
                if data is None:
                    return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
                etag = f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"'
                return 200, {"ETag": etag, "X-Repo-Commit": COMMIT}, data
    return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"


def _children(files: Mapping[str, bytes], prefix: str) -> list[dict[str, Any]]:
    """The files right below a folder, and the folders there."""
    below = {file.removeprefix(prefix): data for file, data in files.items() if file.startswith(prefix)}
    folders = sorted({name.partition("/")[0] for name in below if "/" in name})
    return [
        *({"type": "directory", "path": f"{prefix}{name}", "size": 0, "oid": "0" * 40} for name in folders),
        *(_entry(f"{prefix}{name}", data) for name, data in below.items() if "/" not in name),
    ]


def _entry(file: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": file, "size": len(data), "oid": oid}


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()
