"""Importing a model into the phase's folder: which files, checked before they are believed, one at a time on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from selm_runtime.artifacts import reuse
from selm_runtime.artifacts.manifest import FileEntry, Manifest, content_digest, digest_of
from selm_runtime.artifacts.reader import RunReader
from selm_runtime.artifacts.upload import persistently, upload_files
from selm_runtime.errors import InvalidInput
from selm_runtime.phase import PhaseContext
from selm_runtime.prepare.sources import Source

Role = Literal["CausalLM", "RewardModel", "PairRM"]

IMPORT = "import"
"""The kind of by-input pointers to imports."""
CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
_SMALL = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A model that the spec names."""

    source: Source
    role: Role
    prefix: str
    """Of its files' logical names: `model/` or `scorers/<name>/`."""
    field: str
    """Its path in the spec."""
    declared: str
    """The revision there."""
    trust_remote_code: bool


@dataclass(frozen=True)
class Imported:
    """A model in the pod's folder of the store, not committed yet."""

    entries: tuple[FileEntry, ...]
    """Named `<prefix><file>`."""
    prefix: str
    key: str | None
    """Under which later runs find it."""
    facts: Mapping[str, str]
    local: Path
    """The small files (configuration, tokenizer), for checks."""


CheckNames = Callable[[Path, Collection[str]], None]
"""Given the folder with the small files and the names of all weights; raises InvalidInput for a model without some."""


def import_model(
    ctx: PhaseContext,
    wanted: Wanted,
    check: Callable[[Path], None] | None = None,
    check_names: CheckNames | None = None,
) -> Imported:
    """Bring a model in, by copies within the store where an earlier run of the namespace imported the same.

    `check` is given the folder with the small files before any weights are fetched, and may refuse them; `check_names` is
    asked as soon as the names of the weights are known, and not again of what an earlier run brought in. Raises
    InvalidInput where the files are not a model of this role in Hugging Face layout with safetensors.
    """
    source, prefix = wanted.source, wanted.prefix
    names = wanted_files(source.sizes(), wanted.field, source.uri, trust_remote_code=wanted.trust_remote_code)
    reuse_on = ctx.config.artifacts.reuse != "None"
    # What is found under the key was checked so, too: imports from before there was a check are made again.
    checked = ["names"] if check_names is not None else []
    key = digest_of([source.identity(names), wanted.role, wanted.trust_remote_code, *checked]) if reuse_on else None
    local = ctx.scratch / "models" / prefix.strip("/").replace("/", "-")
    local.mkdir(parents=True, exist_ok=True)
    entries = None if key is None else _adopt(ctx, key, prefix)
    if entries is not None:
        ctx.reporter.event("import-reused", field=wanted.field, files=len(entries))
        _fetch_small(ctx, entries, prefix, local)
        if check is not None:
            check(local)
    else:
        entries = _bring(ctx, wanted, names, local, check, check_names)
    content = content_digest(entry.model_copy(update={"name": entry.name.removeprefix(prefix)}) for entry in entries)
    facts = {
        "uri": source.uri,
        "revision": wanted.declared,
        "pinned": source.pinned or content,
        "contentDigest": content,
    }
    return Imported(entries, prefix, key, facts, local)


def publish_import(ctx: PhaseContext, imported: Imported, manifest: Manifest) -> None:
    """Let later runs of the namespace find the import, once Preparation is committed."""
    if imported.key is not None:
        place = ctx.folder.place
        namespace = ctx.config.run.namespace
        reuse.publish(ctx.store, namespace, IMPORT, imported.key, place, manifest, imported.prefix)


def wanted_files(sizes: Mapping[str, int], field: str, uri: str, *, trust_remote_code: bool) -> list[str]:
    """The files of a model among those of its folder: top level, safetensors and what describes them, no pickle.

    Small ones come first. Raises InvalidInput where there is no model, or one in another form.
    """
    top = sorted(name for name in sizes if len(PurePosixPath(name).parts) == 1)
    if CONFIG not in top:
        found = ", ".join(sorted(sizes)[:8]) or "nothing"
        raise InvalidInput(
            "ModelNotFound",
            f"{field}.uri: found {found} at {uri}; allowed is a model in Hugging Face layout ({CONFIG}, safetensors, "
            "tokenizer)",
        )
    weights = [name for name in top if name.endswith(".safetensors")]
    if INDEX not in top:
        weights = [name for name in weights if name == WEIGHTS]
    if not weights:
        other = [name for name in top if name.endswith((*_PICKLED, ".gguf", ".h5", ".msgpack", ".safetensors"))]
        raise InvalidInput(
            "ModelNotSafetensors",
            f"{field}.uri: found {', '.join(other) or 'no weights'} at {uri}; allowed are {WEIGHTS} or {INDEX} with its "
            "files (pickled weights can run code and are never loaded)",
        )
    small = [name for name in top if name.endswith(_SMALL) or (trust_remote_code and name.endswith(".py"))]
    return [*small, *weights]


def check_config(config: Mapping[str, Any], field: str, role: Role, *, trust_remote_code: bool) -> None:
    """Raises InvalidInput unless config.json declares a model that can be loaded; a policy: a causal language model.

    What a scorer's model must be, its own module says.
    """
    architectures = [str(name) for name in config.get("architectures") or ()]
    causal = any("ForCausalLM" in name or "LMHeadModel" in name for name in architectures)
    if role == "CausalLM" and not causal:
        raise InvalidInput(
            "WrongModel",
            f"{field}.uri: found {', '.join(architectures) or 'no architecture'} in {CONFIG}, allowed is …ForCausalLM",
        )
    if not trust_remote_code and "auto_map" in config and not _known_to_transformers(config):
        raise InvalidInput(
            "RemoteCode",
            f"{field}.trustRemoteCode: found false, but model type {config.get('model_type')!r} needs Python code from "
            f"its own repository; allowed are models that transformers knows, or true",
        )


def check_weights(path: Path, name: str, field: str) -> list[str]:
    """The names of a file's tensors. Raises InvalidInput unless it is whole safetensors (its header covers the file)."""
    try:
        with safe_open(path, framework="np") as file:
            found = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise InvalidInput("DamagedModel", f"{field}.uri: {name} is not whole safetensors: {error}") from error
    if not found:
        raise InvalidInput("DamagedModel", f"{field}.uri: {name} holds no tensor")
    return found


def check_index(text: str, names: Iterable[str], field: str) -> list[str]:
    """The names of the tensors in an index. Raises InvalidInput where it names files that are not there."""
    try:
        weights = dict(json.loads(text)["weight_map"])
        needed = set(weights.values())
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput("DamagedModel", f"{field}.uri: {INDEX} has no weight_map: {error}") from error
    missing = sorted(needed - set(names))
    if missing:
        raise InvalidInput("DamagedModel", f"{field}.uri: {INDEX} names {', '.join(missing[:5])}, which is not there")
    return list(weights)


def read_config(local: Path, field: str) -> dict[str, Any]:
    """config.json of a model folder. Raises InvalidInput where it is no JSON object."""
    try:
        config = json.loads((local / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput("DamagedModel", f"{field}.uri: {CONFIG} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidInput("DamagedModel", f"{field}.uri: {CONFIG} is no JSON object")
    return config


def _bring(
    ctx: PhaseContext,
    wanted: Wanted,
    names: list[str],
    local: Path,
    check: Callable[[Path], None] | None,
    check_names: CheckNames | None,
) -> tuple[FileEntry, ...]:
    source, field = wanted.source, wanted.field
    sizes = source.sizes()
    total, done = sum(sizes[name] for name in names), 0
    small = [name for name in names if not name.endswith(".safetensors")]
    for name in small:
        source.fetch(name, local / name)
    check_config(read_config(local, field), field, wanted.role, trust_remote_code=wanted.trust_remote_code)
    indexed: list[str] | None = None
    if INDEX in small:
        indexed = check_index((local / INDEX).read_text(encoding="utf-8"), names, field)
    if check is not None:
        check(local)
    if check_names is not None and indexed is not None:
        check_names(local, indexed)
    entries: list[FileEntry] = []
    for name in names:
        ctx.stop.check()
        path = local / name
        if name not in small:
            source.fetch(name, path)
            found = check_weights(path, name, field)
            if check_names is not None and indexed is None:  # the only file
                check_names(local, found)
        entries += _upload(ctx, f"{wanted.prefix}{name}", path)
        if name not in small:
            path.unlink()  # the disk holds one file of weights at a time
        done += sizes[name]
        ctx.reporter.progress(done=done, total=total, unit="bytes")
    return tuple(entries)


def _upload(ctx: PhaseContext, name: str, path: Path) -> tuple[FileEntry, ...]:
    return persistently(lambda: upload_files(ctx.store, ctx.folder.place, ctx.folder.within, {name: path}))


def _adopt(ctx: PhaseContext, key: str, prefix: str) -> tuple[FileEntry, ...] | None:
    hit = reuse.find(ctx.store, ctx.config.run.namespace, IMPORT, key)
    if hit is None:
        return None
    return reuse.adopt_files(ctx.store, hit, ctx.folder.place, ctx.folder.within, prefix=prefix)


def _fetch_small(ctx: PhaseContext, entries: Iterable[FileEntry], prefix: str, local: Path) -> None:
    reader = RunReader(ctx.store, ctx.config.run, ctx.stop.check)
    for entry in entries:
        if not entry.name.endswith(".safetensors"):
            reader.fetch_entry(ctx.folder.place, entry, local / entry.name.removeprefix(prefix))


def _known_to_transformers(config: Mapping[str, Any]) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return config.get("model_type") in CONFIG_MAPPING
