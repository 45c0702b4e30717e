"""One shard of Generation: the chunks that are its own and not committed yet, on the pod's engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selm_runtime.artifacts.chunks import chunks_of_shard
from selm_runtime.artifacts.stream import Streamed
from selm_runtime.data.rows import portion_rows
from selm_runtime.data.tokens import Tokenizer, load_tokenizer
from selm_runtime.engine import Engine, EngineSettings, Sampling, keep_compiled, kept_name, stop_token_ids
from selm_runtime.generate.commits import Commits
from selm_runtime.generate.encode import decode, encode_rows
from selm_runtime.generate.loop import generate_chunks
from selm_runtime.generate.processes import ModelWork, generate_in_processes, places
from selm_runtime.generate.requests import ChunkPlan, plan_chunk
from selm_runtime.generate.responses import ChunkResponses, count_responses, responses_table, summarise
from selm_runtime.generate.weights import LocalModel, local_model
from selm_runtime.generate.work import Holder, Unit, holder, units
from selm_runtime.generate.worker import MakeEngine, WorkerTask
from selm_runtime.phase import PhaseContext

Row = Mapping[str, Any]
Plans = Callable[[], list[ChunkPlan]]

PROCESS_ENGINE: MakeEngine = Engine
"""What an engine process makes; tests put another in its place."""


def run_shard(ctx: PhaseContext) -> None:
    """Generates what is missing of this shard's chunks, then composes the phase if all shards' chunks are there."""
    rows = portion_rows(ctx.folder)
    all_units = units(len(rows), ctx.config.generation.policies)
    committed = ctx.folder.chunks()
    mine = chunks_of_shard(len(all_units), ctx.index, ctx.config.generation.shards)
    todo = [all_units[chunk] for chunk in mine if chunk not in committed]
    with ExitStack() as engines:
        if todo:
            _generate(ctx, todo, rows, engines)
        # Before the engine is closed, which may take longer than a chunk: what is whole waits for no clearing up.
        ctx.folder.compose(len(all_units), summarise)


def _generate(ctx: PhaseContext, todo: Sequence[Unit], rows: Sequence[Row], engines: ExitStack) -> None:
    """Generates and commits chunks; `engines` closes what was started for it."""
    config = ctx.config
    of_model: dict[Holder, list[Unit]] = {}
    for unit in todo:
        of_model.setdefault(holder(config, unit.policy), []).append(unit)
    with ctx.reporter.stage("model"):
        models = {where: local_model(ctx, ctx.folder.manifest(*where)) for where in of_model}
        # One tokenizer for all: training hands it on as it is.
        tokenizer = load_tokenizer(next(iter(models.values())).folder, trust_remote_code=config.model.trust_remote_code)

    def plans() -> list[ChunkPlan]:
        return _plans(ctx, tokenizer, todo, rows)

    if len(models) == 1 and config.generation.engines_per_pod == 1:
        (model,) = models.values()
        chunks: Iterator[ChunkResponses] = _in_this_process(ctx, model, plans, tokenizer, engines)
    else:
        numbers = {where: [unit.chunk for unit in its] for where, its in of_model.items()}
        chunks = engines.enter_context(closing(_in_processes(ctx, models, numbers, plans, tokenizer)))
    ahead = not config.generation.reproducible
    with Commits(lambda done: _commit(ctx, done, decode(tokenizer, done)), ahead=ahead) as commits:
        for done in chunks:
            commits.commit(done)


def _plans(ctx: PhaseContext, tokenizer: Tokenizer, todo: Sequence[Unit], rows: Sequence[Row]) -> list[ChunkPlan]:
    prompts = {span: encode_rows(tokenizer, [rows[i] for i in span], ctx.config) for span in {u.rows for u in todo}}
    return [plan_chunk(unit.chunk, prompts[unit.rows], ctx.config, unit.policy) for unit in todo]


def _in_this_process(
    ctx: PhaseContext, model: LocalModel, plans: Plans, tokenizer: Tokenizer, engines: ExitStack
) -> Iterator[ChunkResponses]:
    with ThreadPoolExecutor(1, "plans") as beside:  # an engine's start takes as long as tokenising does
        planned = beside.submit(plans)
        settings = engine_settings(ctx, model.folder, model.streamed)
        engine = engines.enter_context(closing(start_engine(ctx, settings, tokenizer.eos_token_id)))
    reproducible = ctx.config.generation.reproducible
    return generate_chunks(engine, planned.result(), ctx.reporter, ctx.stop, reproducible=reproducible)


def _in_processes(
    ctx: PhaseContext,
    models: Mapping[Holder, LocalModel],
    chunks: Mapping[Holder, Sequence[int]],
    plans: Plans,
    tokenizer: Tokenizer,
) -> Generator[ChunkResponses]:
    """A process an engine: its end frees all that it held, and several work at once."""
    generation = ctx.config.generation
    keep_compiled(ctx.cache.kept(kept_name()))
    where = places(
        generation.engines_per_pod,
        generation.tensor_parallel_size,
        gpus=visible_gpus(),
        cpus=sorted(os.sched_getaffinity(0)),
    )

    def task(model: LocalModel) -> WorkerTask:
        drawn = sampling(ctx, model.folder, tokenizer.eos_token_id)
        return WorkerTask(
            engine_settings(ctx, model.folder, model.streamed), drawn, generation.reproducible, PROCESS_ENGINE
        )

    work = {
        f"{phase}-{iteration}": ModelWork(task(model), chunks[phase, iteration])
        for (phase, iteration), model in models.items()
    }
    return generate_in_processes(work, plans, where, ctx.reporter, ctx.stop)


def start_engine(ctx: PhaseContext, settings: EngineSettings, eos_token_id: int | None) -> Engine:
    """An engine for the config's sampling, in this process; says how long it took."""
    with ctx.reporter.stage("engine"):
        keep_compiled(ctx.cache.kept(kept_name()))
        return Engine(settings, sampling(ctx, settings.model, eos_token_id))


def engine_settings(ctx: PhaseContext, model: Path, streamed: Streamed | None = None) -> EngineSettings:
    """What an engine of this run's is made of; `streamed` where the model's tensors are not in its folder."""
    config = ctx.config
    return EngineSettings(
        model=model,
        max_prompt_tokens=config.training.max_prompt_length,
        max_new_tokens=config.generation.max_tokens,
        tensor_parallel_size=config.generation.tensor_parallel_size,
        trust_remote_code=config.model.trust_remote_code,
        engine_args=config.generation.engine_args,
        streamed=None if streamed is None else (streamed, config.artifacts),
    )


def sampling(ctx: PhaseContext, model: Path, eos_token_id: int | None) -> Sampling:
    """How this phase draws tokens; the model says what ends a response."""
    generation = ctx.config.generation
    return Sampling(
        temperature=generation.temperature,
        top_p=generation.top_p,
        max_tokens=generation.max_tokens,
        stop_token_ids=stop_token_ids(model, eos_token_id),
    )


def visible_gpus() -> list[str]:
    """The pod's GPUs by the names that CUDA_VISIBLE_DEVICES takes; none: engines run on the processors."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and torch.cuda.is_available():
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


def _commit(ctx: PhaseContext, responses: ChunkResponses, texts: Sequence[str]) -> None:
    chunk = responses.plan.chunk
    path = ctx.scratch / f"responses-{chunk:05d}.parquet"
    table = responses_table(responses, texts)
    pq.write_table(table, path)
    counts = count_responses(responses, texts, ctx.config.generation.policies)
    ctx.folder.commit_chunk(chunk, {"responses.parquet": path}, rows=len(table), metrics=counts)
    path.unlink()
