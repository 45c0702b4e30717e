"""Where a model is pushed to: a repository of the hub, or a folder in a store (an OCI registry: `oci`).

Doing it again changes nothing.

Both can be killed at any line and begun again. The hub takes files by their hash and makes one commit of them; in a
store the list of files, `selm-push.json`, is written last, and a folder without it is not whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from selm_runtime.artifacts.manifest import canonical_json, digest_of, sha256_of_file
from selm_runtime.artifacts.store import NotFound, Store, open_uri
from selm_runtime.artifacts.upload import files_below
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.push.place import ALLOWED, OCI, Place

HUB = "hf://"
LIST = "selm-push.json"
"""In a store: name, size and SHA-256 of every file of the push. Written last, read by the next push and by readers."""
_STALE = ("*.safetensors", "*.safetensors.index.json")
"""Files of an earlier push to the hub that go when they are not among the new ones: a model in other parts."""


@dataclass(frozen=True)
class Pushed:
    """Where the model is now."""

    uri: str
    revision: str | None
    """The hub's commit, a registry's digest; None in a store."""
    changed: bool
    """False: everything was there already."""


def check_target(uri: str, field: str) -> None:
    """Raises InvalidInput for a target that no push can reach; asks nobody."""
    if uri.startswith(OCI):
        Place.of(uri, field)
    elif uri.startswith(HUB):
        name = uri.removeprefix(HUB).strip("/")
        if name.count("/") != 1 or not all(name.split("/")):
            raise InvalidInput("InvalidURI", f"{field}: found {uri!r}, allowed is hf://<owner>/<name>")
    elif not uri.startswith(("s3://", "file:///")):
        raise InvalidInput(
            "InvalidURI",
            f"{field}: found {uri!r}, allowed are hf://<owner>/<name>, s3://<bucket>/<path>, file:///<path>, {ALLOWED}",
        )


def push_to_hub(
    folder: Path,
    uri: str,
    *,
    field: str,
    private: bool = True,
    revision: str = "main",
    message: str,
    endpoint: str | None = None,
) -> Pushed:
    """Make the repository (private by default) if it is not there, and one commit of the folder's files.

    The token comes by HF_TOKEN, a mirror by HF_ENDPOINT (`endpoint`: another one). Raises InvalidInput where the token
    may not write, and where the repository is public and `private` is asked for; TemporaryFailure while the hub is away.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_target(uri, field)
    repository = uri.removeprefix(HUB).strip("/")
    api = HfApi(endpoint=endpoint)
    with _hub_errors(uri, field):
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise InvalidInput(
                "PublicRepository",
                f"{field}: {uri} is public, but a private repository is asked for; allowed is another one, or pushing to it "
                "as public",
            )
        if revision != "main":
            api.create_branch(repository, branch=revision, exist_ok=True)
        before = api.model_info(repository, revision=revision)
        files = files_below(folder)
        stale = [s.rfilename for s in before.siblings or () if _is_stale(s.rfilename) and s.rfilename not in files]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, path) for name, path in files.items()
        ]
        operations += [CommitOperationDelete(name) for name in stale]
        # Not upload_folder, which may make several commits: readers would see half a model.
        commit = api.create_commit(repository, operations, revision=revision, commit_message=message)
    return Pushed(f"{HUB}{repository}", commit.oid, commit.oid != before.sha)


def _is_stale(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _STALE)


def push_to_store(
    folder: Path, uri: str, *, field: str, endpoint: str | None = None, region: str | None = None
) -> Pushed:
    """Write the folder's files to a folder at s3:// or file://, its list last. Unchanged files are not sent again.

    Files of an earlier push that are not among the new ones are deleted; others are left alone.
    """
    check_target(uri, field)
    store = open_uri(uri, endpoint=endpoint, region=region, field=field)
    files = files_below(folder)
    new: dict[str, list[int | str]] = {
        name: [path.stat().st_size, sha256_of_file(path)] for name, path in files.items()
    }
    old = _listed(store)
    if old == new and all(_is_there(store, name, new) for name in new):
        return Pushed(store.uri, None, changed=False)
    if old:
        store.delete([LIST])  # from here on the folder is not whole
    for name, path in sorted(files.items()):
        if old.get(name) != new[name] or not _is_there(store, name, new):
            store.upload(path, name)
    store.delete([name for name in old if name not in new])
    store.put(LIST, canonical_json({"contentDigest": digest_of(new), "files": new}))
    return Pushed(store.uri, None, changed=True)


def _listed(store: Store) -> Mapping[str, list[int | str]]:
    try:
        listed = json.loads(store.get(LIST))
        return {str(name): list(entry) for name, entry in listed["files"].items()}
    except NotFound:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            "ForeignFolder",
            f"{store.uri_of(LIST)} is no list of a push; allowed is an empty folder or one pushed to before",
        ) from error


def _is_there(store: Store, name: str, files: Mapping[str, list[int | str]]) -> bool:
    info = store.stat(name)
    return info is not None and info.size == files[name][0]


@contextmanager
def _hub_errors(uri: str, field: str) -> Iterator[None]:
    """What the hub's client raises, in the words of whoever asked for the push."""
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is there, not exported
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except HFValidationError as error:
        raise InvalidInput("InvalidURI", f"{field}: found {uri!r}, allowed is hf://<owner>/<name>") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403, 404):
            raise InvalidInput(
                "AccessDenied", f"{field}: the hub does not let the token in HF_TOKEN write to {uri} ({status})"
            ) from error
        if 400 <= status < 500 and status not in (408, 409, 412, 429):
            raise InvalidInput(
                "PushRefused", f"{field}: the hub refuses the push to {uri} ({status}): {error}"
            ) from error
        raise TemporaryFailure("HubUnavailable", f"{field}: the hub answers {status} for {uri}") from error
    except (OfflineModeIsEnabled, HTTPError, ConnectionError, TimeoutError) as error:
        raise TemporaryFailure("HubUnavailable", f"{field}: the hub does not answer for {uri}: {error}") from error
