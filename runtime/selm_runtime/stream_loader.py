"""vLLM's model loader for weights that stay in the store: tensors go to the model as their bytes come, verified.

Importing this module imports vLLM and makes the load format known to it, in this process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors_torch
from vllm.config import ModelConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from selm_runtime.artifacts.store import Corrupt, Store, open_store
from selm_runtime.artifacts.stream import Streamed, StreamedFile, damage_of, read_weights
from selm_runtime.artifacts.tensors import tensor_places
from selm_runtime.contract import ArtifactsConfig

LOAD_FORMAT = "selm_stream"
TORCH_TYPES: Mapping[str, torch.dtype] = safetensors_torch._TYPES  # type: ignore[assignment]
"""By the names that the format has for them; null where this torch has no such type."""


def loader_arguments(streamed: Streamed, artifacts: ArtifactsConfig) -> dict[str, Any]:
    """The engine arguments that make it load so."""
    described = {
        "artifacts": artifacts.model_dump(mode="json"),
        "folder": str(streamed.folder),
        "files": [dataclasses.asdict(file) for file in streamed.files],
    }
    return {"load_format": LOAD_FORMAT, "model_loader_extra_config": described}


@register_model_loader(LOAD_FORMAT)
class StreamLoader(DefaultModelLoader):
    """vLLM's own loader with another source: what it asks of a model's weights, and of one that is missing, holds."""

    def __init__(self, load_config: LoadConfig) -> None:
        described = load_config.model_loader_extra_config
        assert isinstance(described, dict)
        super().__init__(dataclasses.replace(load_config, model_loader_extra_config={}))
        self._store = open_store(ArtifactsConfig.model_validate(described["artifacts"]))
        self._folder = Path(described["folder"])
        self._files = [StreamedFile(**file) for file in described["files"]]
        self._whole = False

    def download_model(self, model_config: ModelConfig) -> None:
        """Nothing: it stays in the store."""

    def get_all_weights(
        self,
        model_config: ModelConfig,  # noqa: ARG002 - the signature is vLLM's
        model: torch.nn.Module,
    ) -> Generator[tuple[str, torch.Tensor], None, None]:
        """Every tensor by its name. Raises InvalidInput for a file that is damaged or gone, TemporaryFailure where the store
        is away.
        """
        if getattr(model, "secondary_weights", ()):
            raise RuntimeError(f"{type(model).__name__} takes weights of a second repository, which are not streamed")
        yield from stream_tensors(self._store, self._files, self._folder)
        self._whole = True

    def load_weights(self, model: torch.nn.Module, model_config: ModelConfig) -> None:
        """Raises RuntimeError where the model did not read all: what is not read to its end is not verified."""
        self._whole = False
        super().load_weights(model, model_config)
        if not self._whole:
            raise RuntimeError(f"{type(model).__name__} did not read all its weights, so they are not verified")


def stream_tensors(
    store: Store, files: list[StreamedFile], folder: Path, **reading: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor on the CPU) of each file in the order of its bytes; `folder` holds the files' headers.

    A file's hash is known only behind its last tensor: nothing may be done with any before the iterator has ended.
    `reading`: see `read_weights`. Raises as `StreamLoader.get_all_weights`.
    """
    for file, parts in read_weights(store, files, **reading):
        try:
            yield from _tensors(store.uri_of(file.key), file, (folder / file.name).read_bytes(), _Bytes(parts))
        except Corrupt as found:
            raise damage_of(store, file, found) from found


def _tensors(uri: str, file: StreamedFile, header: bytes, source: _Bytes) -> Iterator[tuple[str, torch.Tensor]]:
    found = bytearray(len(header))
    source.fill(memoryview(found))
    if found != header:
        raise Corrupt(f"{uri} begins otherwise than it did a moment ago")
    for place in tensor_places(header, file.size):
        # A buffer of its own: models may keep a tensor until another one has come.
        buffer = torch.empty(place.size, dtype=torch.uint8, device="cpu")
        source.fill(buffer.numpy().data)
        yield place.name, buffer.view(TORCH_TYPES[place.dtype]).reshape(place.shape)
    source.end()


class _Bytes:
    """A file's parts as one run of bytes."""

    def __init__(self, parts: Iterator[bytearray]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")

    def fill(self, target: memoryview) -> None:
        """The next bytes, as many as `target` takes; there are that many, as the header was held to the file's size."""
        while len(target):
            if not self._rest:
                self._rest = memoryview(next(self._parts))
            count = min(len(target), len(self._rest))
            target[:count] = self._rest[:count]
            target, self._rest = target[count:], self._rest[count:]

    def end(self) -> None:
        """The hash is compared once the last part was given and another one is asked for."""
        for _ in self._parts:
            raise AssertionError("bytes behind the last tensor")
