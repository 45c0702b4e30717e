"""How a model's weights reach the engine: through the node's cache, or straight from the store where that was asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.artifacts.reader import RunReader
from selm_runtime.artifacts.stream import Streamed, open_stream
from selm_runtime.artifacts.tensors import UnknownType
from selm_runtime.contract import GenerationConfig
from selm_runtime.engine import ENVIRONMENT
from selm_runtime.phase import PhaseContext

OTHER_WAYS = ("load_format", "model_loader_extra_config", "distributed_executor_backend", "speculative_config")
"""Engine arguments by which weights are loaded otherwise, by another process, or of a second model."""
IN_PROCESS = "VLLM_ENABLE_V1_MULTIPROCESSING"


@dataclass(frozen=True)
class LocalModel:
    """A model's folder; `streamed` where its tensors are not in it."""

    folder: Path
    streamed: Streamed | None = None


def why_not_streamed(generation: GenerationConfig, environment: Mapping[str, str]) -> str | None:
    """What stands against streaming, in words; None where nothing does."""
    if generation.tensor_parallel_size > 1 or generation.engines_per_pod > 1:
        return "each of the pod's engine processes would read the whole model"
    for argument in OTHER_WAYS:
        if argument in generation.engine_args:
            return f"engineArgs.{argument} is set"
    if generation.engine_args.get("quantization") == "torchao":
        return "torchao's weights are put together by safetensors itself"
    if environment.get(IN_PROCESS, ENVIRONMENT[IN_PROCESS]) != "0":
        return f"{IN_PROCESS} puts the engine into another process"
    return None


def local_model(ctx: PhaseContext, manifest: Manifest) -> LocalModel:
    """The model that a phase committed; an event says which way was taken, where streaming was asked for."""
    generation = ctx.config.generation
    if generation.weights == "Cache":
        return LocalModel(ctx.cache.model(manifest))
    because = why_not_streamed(generation, os.environ)
    if because is None and (held := ctx.cache.held(manifest)) is not None:
        _say(ctx, manifest, "Cache", because="the node's cache holds it")
        return LocalModel(held)
    if because is None:
        folder = ctx.scratch / "streamed" / f"{manifest.phase.slug}-{manifest.iteration}"
        try:
            streamed = open_stream(RunReader(ctx.store, ctx.config.run), manifest, folder)
        except UnknownType as error:
            because = str(error)
        else:
            _say(ctx, manifest, "Stream", files=len(streamed.files), bytes=sum(file.size for file in streamed.files))
            return LocalModel(folder, streamed)
    _say(ctx, manifest, "Cache", because=because)
    return LocalModel(ctx.cache.model(manifest))


def _say(ctx: PhaseContext, manifest: Manifest, way: str, **facts: object) -> None:
    ctx.reporter.event("weights", way=way, model=f"{manifest.phase}-{manifest.iteration}", **facts)
