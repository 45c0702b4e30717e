"""Where a model or data comes from: a hub repository at a pinned commit, or a folder at s3:// or file://."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.manifest import digest_of, sha256_of_file
from selm_runtime.artifacts.store import NotFound, ObjectInfo, Store, open_uri
from selm_runtime.contract import ArtifactsConfig
from selm_runtime.errors import InvalidInput, TemporaryFailure

HUB = "hf://"


class Source(Protocol):
    """A folder of files that does not change while it is read."""

    @property
    def uri(self) -> str: ...

    @property
    def pinned(self) -> str | None:
        """The commit of a hub repository; None where only the contents can pin it."""

    def identity(self, names: Iterable[str]) -> str:
        """A digest that changes with these files' contents, known before they are fetched."""

    def sizes(self) -> Mapping[str, int]:
        """Bytes by name, relative to the folder."""

    def fetch(self, name: str, path: Path) -> None:
        """Download one file into `path`."""


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub at a commit. The token comes by HF_TOKEN, a mirror by HF_ENDPOINT."""

    repository: str
    kind: str  # model or dataset
    commit: str
    files: Mapping[str, int]
    field: str

    @classmethod
    def resolve(cls, uri: str, revision: str, *, kind: str, field: str) -> HubSource:
        """Pin a revision to its commit. `field` is `spec.model` and the like."""
        from huggingface_hub import HfApi

        repository = hub_repository(uri, kind, f"{field}.uri")
        api = HfApi()
        with hub_errors(uri, revision, field):
            info: Any = (
                api.model_info(repository, revision=revision, files_metadata=True)
                if kind == "model"
                else api.dataset_info(repository, revision=revision, files_metadata=True)
            )
        files = {sibling.rfilename: int(sibling.size or 0) for sibling in info.siblings or ()}
        return cls(repository, kind, str(info.sha), files, field)

    @property
    def uri(self) -> str:
        return f"{HUB}{self.repository}"

    @property
    def pinned(self) -> str | None:
        return self.commit

    def identity(self, names: Iterable[str]) -> str:
        return digest_of(["hub", self.kind, self.repository, self.commit, sorted(names)])

    def sizes(self) -> Mapping[str, int]:
        return self.files

    def fetch(self, name: str, path: Path) -> None:
        from huggingface_hub import hf_hub_download

        with hub_errors(self.uri, self.commit, self.field):
            fetched = Path(
                hf_hub_download(
                    self.repository, name, repo_type=self.kind, revision=self.commit, local_dir=path.parent / ".hub"
                )
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(path)


@dataclass(frozen=True)
class StoreSource:
    """A folder in a store of its own; the credentials and endpoint are those of `spec.artifacts`."""

    store: Store
    files: Mapping[str, ObjectInfo]
    pinned: str | None = None

    @classmethod
    def resolve(cls, uri: str, artifacts: ArtifactsConfig, *, field: str, only: str | None = None) -> StoreSource:
        """List a folder, or look for the one file `only` in it. Nothing there: no files."""
        store = open_uri(uri, endpoint=artifacts.endpoint, region=artifacts.region, field=f"{field}.uri")
        if only is not None:
            info = store.stat(only)
            return cls(store, {} if info is None else {only: info})
        try:
            return cls(store, {info.key: info for info in store.list()})
        except NotFound:
            return cls(store, {})

    @property
    def uri(self) -> str:
        return self.store.uri

    def identity(self, names: Iterable[str]) -> str:
        return digest_of(["store", self.uri, [[name, self._mark(name)] for name in sorted(names)]])

    def _mark(self, name: str) -> list[Any]:
        info = self.files[name]
        # A file system has no mark of its contents that could be trusted: they are read.
        local = self.store.local_path(name) if isinstance(self.store, FileStore) else None
        return [info.size, sha256_of_file(local) if local is not None else info.version]

    def sizes(self) -> Mapping[str, int]:
        return {name: info.size for name, info in self.files.items()}

    def fetch(self, name: str, path: Path) -> None:
        try:
            self.store.download(name, path)
        except NotFound as error:
            raise TemporaryFailure("SourceChanged", f"{self.store.uri_of(name)} vanished while it was read") from error


def resolve_model(uri: str, revision: str, artifacts: ArtifactsConfig, *, field: str) -> Source:
    """The source of a model; `field` is `spec.model` or a scorer's. Nothing is downloaded yet."""
    if uri.startswith(HUB):
        return HubSource.resolve(uri, revision, kind="model", field=field)
    return StoreSource.resolve(uri, artifacts, field=field)


def hub_repository(uri: str, kind: str, field: str) -> str:
    """`owner/name` out of `hf://owner/name` (`hf://datasets/owner/name` for data is accepted)."""
    path = uri.removeprefix(HUB).strip("/")
    if kind == "dataset":
        path = path.removeprefix("datasets/")
    if not path or path.count("/") > 1:
        raise InvalidInput("InvalidURI", f"{field}: found {uri!r}, allowed is hf://<owner>/<name>")
    return path


@contextmanager
def hub_errors(uri: str, revision: str, field: str) -> Iterator[None]:
    """What the hub's client raises, in terms of the spec's fields."""
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is there, not exported
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,  # of whichever HTTP client the hub's client is built on
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise InvalidInput(
            "AccessDenied",
            f"{field}.uri: {uri} is gated and the token, if any, is not allowed to read it; spec.model.tokenSecretRef "
            "names a Secret with one that is",
        ) from error
    except RevisionNotFoundError as error:
        raise InvalidInput(
            "RevisionNotFound",
            f"{field}.revision: found {revision!r}, allowed is a branch, tag or commit of {uri}",
        ) from error
    except RepositoryNotFoundError as error:
        raise InvalidInput(
            "SourceNotFound", f"{field}.uri: {uri} is not on the hub, or it is private and the token cannot read it"
        ) from error
    except HFValidationError as error:
        raise InvalidInput("InvalidURI", f"{field}.uri: found {uri!r}, allowed is hf://<owner>/<name>") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise InvalidInput("AccessDenied", f"{field}.uri: the hub refuses {uri} ({status})") from error
        raise TemporaryFailure("HubUnavailable", f"{field}.uri: the hub answers {status} for {uri}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError, ConnectionError, TimeoutError) as error:
        raise TemporaryFailure("HubUnavailable", f"{field}.uri: the hub does not answer for {uri}: {error}") from error
    except EntryNotFoundError as error:
        raise InvalidInput("SourceNotFound", f"{field}.uri: {error}") from error
