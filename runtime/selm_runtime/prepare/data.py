"""The data of a run: found, pinned, read in its format, written as rows in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from selm_runtime.artifacts.manifest import digest_of, sha256_of_file
from selm_runtime.contract import DataConfig
from selm_runtime.data.files import SUFFIXES, read_records, saved_files, split_files
from selm_runtime.data.formats import FieldError, detect_format, read_record
from selm_runtime.data.rows import PromptRow, write_rows
from selm_runtime.errors import InvalidInput
from selm_runtime.phase import PhaseContext
from selm_runtime.prepare.sources import HUB, HubSource, StoreSource, hub_errors, hub_repository


class Dataset(Protocol):
    """Splits of records, in an order that does not change."""

    def records(self, split: str, field: str) -> Iterator[dict[str, Any]]:
        """A split's records; InvalidInput naming `field` where there is no such split."""

    def file(self) -> str:
        """The file of the record that was given last; empty where unknown."""

    def facts(self) -> dict[str, str]:
        """The URI and what it was pinned to; complete once the splits were read."""


@dataclass(frozen=True)
class SplitRows:
    """A split, read and validated: rows of the PROMPTS schema in a local Parquet file."""

    path: Path
    rows: int
    format: str
    has_pairs: bool
    split: str
    first: int
    """The number of its first row among those of the run."""
    files: tuple[tuple[int, str], ...] = ()
    """(the place in the split of its first row, its name) of each file; none where they are not known."""


class FileDataset:
    """Parquet, JSONL or JSON in a folder (by split) or as one file, or a saved dataset, at s3:// or file://."""

    def __init__(self, source: StoreSource, name: str | None, declared: DataConfig, scratch: Path) -> None:
        self._source = source
        self._name = name  # of a single file; None: a folder
        self._declared = declared
        self._scratch = scratch
        self._digests: dict[str, str] = {}
        self._at = ""

    @classmethod
    def resolve(cls, ctx: PhaseContext) -> FileDataset:
        data = ctx.config.data
        uri = data.uri.rstrip("/")
        folder, _, last = uri.rpartition("/")
        single = last.endswith(SUFFIXES) and not folder.endswith(":/")
        folder = f"{folder}/" if folder.endswith("//") else folder  # a file in the root
        source = StoreSource.resolve(
            folder if single else uri, ctx.config.artifacts, field="spec.data", only=last if single else None
        )
        if not source.sizes():
            raise InvalidInput(
                "DataNotFound", f"spec.data.uri: there is no {'file' if single else 'folder with files'} at {data.uri}"
            )
        return cls(source, last if single else None, data, ctx.scratch)

    def records(self, split: str, field: str) -> Iterator[dict[str, Any]]:
        for index, name in enumerate(self._files(split, field)):
            path = self._scratch / f"data-{index}-{Path(name).name}"
            self._source.fetch(name, path)
            self._digests[name] = sha256_of_file(path)
            self._at = name
            yield from read_records(path, f"spec.data.uri: {name}")
            path.unlink()

    def file(self) -> str:
        return self._at

    def facts(self) -> dict[str, str]:
        pinned = digest_of(sorted(self._digests.items()))
        return {"uri": self._declared.uri, "revision": self._declared.revision, "pinned": pinned}

    def _files(self, split: str, field: str) -> list[str]:
        if self._name is not None:
            if split != self._declared.split:
                raise InvalidInput(
                    "SplitNotFound",
                    f"{field}: found {split!r}, but {self._declared.uri} is one file and has one split; allowed is a "
                    f"folder with {split}.parquet or {split}.jsonl beside the other split",
                )
            return [self._name]
        if (names := saved_files(self._source.sizes(), self._content)) and split == self._declared.split:
            return names  # `Dataset.save_to_disk`: one split, whatever it was called
        names = split_files(self._source.sizes(), split, self._content)
        if not names:
            found = ", ".join(sorted(self._source.sizes())[:8])
            raise InvalidInput(
                "SplitNotFound",
                f"{field}: found {split!r}, but {self._declared.uri} holds {found}; allowed is a split with "
                f"{split}.parquet, {split}.jsonl, {split}.json or several {split}-*.parquet (also under data/), or as "
                f"save_to_disk writes it, in {split}/",
            )
        return names

    def _content(self, name: str) -> bytes:
        path = self._scratch / f"data-{Path(name).name}"
        self._source.fetch(name, path)
        content = path.read_bytes()
        path.unlink()
        return content


class HubDataset:
    """A dataset of the Hugging Face hub at a pinned commit, streamed by the `datasets` library."""

    def __init__(self, source: HubSource, declared: DataConfig) -> None:
        self._source = source
        self._declared = declared

    @classmethod
    def resolve(cls, ctx: PhaseContext) -> HubDataset:
        data = ctx.config.data
        hub_repository(data.uri, "dataset", "spec.data.uri")
        return cls(HubSource.resolve(data.uri, data.revision, kind="dataset", field="spec.data"), data)

    def records(self, split: str, field: str) -> Iterator[dict[str, Any]]:
        import datasets
        from datasets.data_files import EmptyDatasetError

        repository, commit = self._source.repository, self._source.commit
        with hub_errors(self._declared.uri, commit, "spec.data"):
            try:
                splits = datasets.get_dataset_split_names(repository, revision=commit)
                if split not in splits:
                    raise InvalidInput(
                        "SplitNotFound",
                        f"{field}: found {split!r}, allowed at {self._declared.uri} are {', '.join(map(str, splits))}",
                    )
                yield from datasets.load_dataset(repository, split=split, revision=commit, streaming=True)
            except (datasets.exceptions.DatasetsError, EmptyDatasetError, ValueError) as error:
                raise InvalidInput(
                    "InvalidData", f"spec.data.uri: {self._declared.uri} cannot be read: {error}"
                ) from error

    def file(self) -> str:
        return ""  # the library streams records without their files

    def facts(self) -> dict[str, str]:
        return {"uri": self._declared.uri, "revision": self._declared.revision, "pinned": self._source.commit}


def resolve_data(ctx: PhaseContext) -> Dataset:
    """Find and pin the run's data. Raises InvalidInput where it is not there."""
    return HubDataset.resolve(ctx) if ctx.config.data.uri.startswith(HUB) else FileDataset.resolve(ctx)


def read_split(
    ctx: PhaseContext, dataset: Dataset, split: str, *, field: str, first: int = 0, limit: int | None = None
) -> SplitRows:
    """Read, validate and write a split's rows, numbered from `first`; with `limit` only its first rows.

    Raises InvalidInput naming the row, its field, what was found and what is allowed.
    """
    data = ctx.config.data
    where = f"split {split!r}"
    formats: list[str] = []
    files: list[tuple[int, str]] = []
    state = {"pairs": True}

    def rows() -> Iterator[PromptRow]:
        with closing(dataset.records(split, field)) as records:  # type: ignore[type-var]
            for number, record in enumerate(records):
                if limit is not None and number >= limit:
                    return
                if not formats:
                    formats.append(_format(data, record, where))
                file = dataset.file()
                if file and (not files or files[-1][1] != file):
                    files.append((number, file))
                row = read_record(record, number, formats[0], data.columns, f"{where}{_in_file(files, number)}")
                state["pairs"] = state["pairs"] and row.chosen is not None and row.rejected is not None
                if number % 1000 == 999:
                    ctx.stop.check()
                    ctx.reporter.progress(done=number + 1, total=0, unit="rows", force=True)
                yield row

    path = ctx.scratch / f"split-{first}-{split.replace('/', '-')}.parquet"
    count = write_rows(path, rows(), first)
    found = formats[0] if formats else data.format
    return SplitRows(path, count, found, bool(count) and state["pairs"], split, first, tuple(files))


def place_of(splits: Sequence[SplitRows], row: int) -> str:
    """Where a row of the run stands in the data, by its number: its place in the split, and its file where that is known."""
    split = next(split for split in splits if split.first <= row < split.first + split.rows)
    number = row - split.first
    return f"row {number} of split {split.split!r}{_in_file(split.files, number)}"


def _in_file(files: Sequence[tuple[int, str]], number: int) -> str:
    """Of the row at that place of a split, by the files up to it or all."""
    before = [(start, file) for start, file in files if start <= number]
    return f" in {before[-1][1]}, its row {number - before[-1][0]}" if before else ""


def _format(data: DataConfig, record: dict[str, Any], where: str) -> str:
    if data.format != "Auto":
        return data.format
    try:
        return detect_format(record, data.columns)
    except FieldError as error:
        raise InvalidInput("InvalidData", f"spec.data.format: row 0 of {where}: {error}") from error
