"""A model as an OCI artifact, laid out as the ModelPack specification has it: one layer a file, unpacked.

Blobs are addressed by their hash, and those that are there are not sent again. The manifest goes last: the tag names the
whole model or what it named before. The configuration's schema is closed, so that the recipe is a file of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selm_runtime.artifacts.manifest import canonical_json, sha256_of_file
from selm_runtime.artifacts.upload import files_below
from selm_runtime.push.card import CardFacts, digests, recipe
from selm_runtime.push.credentials import credentials_for
from selm_runtime.push.place import Place
from selm_runtime.push.registry import MANIFEST_TYPE, Body, Registry
from selm_runtime.push.targets import Pushed

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
RECIPE = "selm-recipe.yaml"
FILE_PATH, TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"
"""Annotations of a layer: its file's name, for readers of ModelPack and for general ones."""
OWN = "dev.selm."
"""Begins the annotations of the manifest."""
_KINDS = {".safetensors": "weight", ".md": "doc", ".yaml": "doc", ".txt": "doc", ".py": "code"}
_OTHERS = "weight.config"
_READ_BYTES = 1 << 20

Json = dict[str, Any]


@dataclass(frozen=True)
class _Blob:
    digest: str
    size: int
    body: Body

    @classmethod
    def of_file(cls, path: Path) -> _Blob:
        return cls(_prefixed(sha256_of_file(path)), path.stat().st_size, lambda: _pieces(path))

    @classmethod
    def of_bytes(cls, data: bytes) -> _Blob:
        return cls(_prefixed(hashlib.sha256(data).hexdigest()), len(data), lambda: iter((data,)))

    def descriptor(self, media_type: str) -> Json:
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


def push_to_registry(
    folder: Path,
    uri: str,
    facts: CardFacts,
    *,
    field: str,
    plain_http: bool,
    environment: Mapping[str, str],
) -> Pushed:
    """Send the folder's files, the recipe and the configuration, then have the tag name them.

    `environment` holds the credentials. Doing it again changes nothing; equal runs make equal artifacts. Raises
    InvalidInput where the registry refuses, TemporaryFailure while it is away.
    """
    place = Place.of(uri, field)
    credentials = credentials_for(place.host, place.name, environment)
    text = yaml.safe_dump(recipe(facts.spec), sort_keys=False, allow_unicode=True)
    blobs = {name: _Blob.of_file(path) for name, path in files_below(folder).items()}
    blobs[RECIPE] = _Blob.of_bytes(text.encode())
    layers = [_layer(name, blob) for name, blob in sorted(blobs.items())]
    config = _Blob.of_bytes(canonical_json(_config(facts, layers)))
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": config.descriptor(CONFIG_TYPE),
            "layers": layers,
            "annotations": _annotations(facts),
        }
    )
    digest = _prefixed(hashlib.sha256(manifest).hexdigest())
    with Registry(place, field=field, plain_http=plain_http, credentials=credentials) as registry:
        for blob in {blob.digest: blob for blob in (*blobs.values(), config)}.values():
            if not registry.has_blob(blob.digest):
                registry.push_blob(blob.digest, blob.size, blob.body)
        changed = registry.manifest_digest() != digest
        if changed:
            registry.put_manifest(manifest)
    return Pushed(place.uri, digest, changed)


def _layer(name: str, blob: _Blob) -> Json:
    kind = "doc" if name == "LICENSE" else _KINDS.get(Path(name).suffix, _OTHERS)
    described = blob.descriptor(f"application/vnd.cncf.model.{kind}.v1.raw")
    return {**described, "annotations": {FILE_PATH: name, TITLE: name}}


def _config(facts: CardFacts, layers: list[Json]) -> Json:
    return {
        "descriptor": {"name": facts.run.name, "version": f"iteration-{facts.iteration}"},
        "config": {"architecture": "transformer", "format": "safetensors"},
        "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
    }


def _annotations(facts: CardFacts) -> dict[str, str]:
    """What the model was made by: run, iteration, and the digests of its content and of every committed phase."""
    made = {f"{OWN}digest.{what.lower().replace(' ', '-')}": digest for what, digest in digests(facts)}
    return {TITLE: f"{facts.run.name}, iteration {facts.iteration}", f"{OWN}iteration": str(facts.iteration), **made}


def _prefixed(digest: str) -> str:
    return f"sha256:{digest.removeprefix('sha256:')}"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            yield piece
