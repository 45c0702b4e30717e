"""One shard of Generation: the chunks that are its own and not committed yet, on one engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selm_runtime.artifacts.chunks import chunk_ranges, chunks_of_shard
from selm_runtime.contract import Phase
from selm_runtime.data.rows import portion_rows
from selm_runtime.data.tokens import load_tokenizer
from selm_runtime.engine import Engine, EngineSettings, Sampling, stop_token_ids
from selm_runtime.generate.encode import decode, encode_rows
from selm_runtime.generate.loop import generate_chunks
from selm_runtime.generate.requests import plan_chunk
from selm_runtime.generate.responses import ChunkResponses, count_responses, responses_table, summarise
from selm_runtime.phase import PhaseContext


def run_shard(ctx: PhaseContext) -> None:
    """Generates what is missing of this shard's chunks, then composes the phase if all shards' chunks are there."""
    rows = portion_rows(ctx.folder)
    ranges = chunk_ranges(len(rows))
    committed = ctx.folder.chunks()
    mine = chunks_of_shard(len(ranges), ctx.index, ctx.config.generation.shards)
    todo = [chunk for chunk in mine if chunk not in committed]
    if todo:
        _generate(ctx, {chunk: [rows[i] for i in ranges[chunk]] for chunk in todo})
    ctx.folder.compose(len(ranges), summarise)


def policy_model(ctx: PhaseContext) -> Path:
    """A local copy of the policy that this iteration starts from: the last Training's, or the base."""
    before = ctx.config.iteration - 1
    manifest = ctx.folder.manifest(Phase.TRAINING, before) if before else ctx.folder.manifest(Phase.PREPARATION, 0)
    return ctx.cache.model(manifest)


def _generate(ctx: PhaseContext, rows: Mapping[int, Sequence[Mapping[str, Any]]]) -> None:
    config = ctx.config
    started = time.monotonic()
    model = policy_model(ctx)
    tokenizer = load_tokenizer(model, trust_remote_code=config.model.trust_remote_code)
    plans = [plan_chunk(chunk, encode_rows(tokenizer, its, config), config) for chunk, its in rows.items()]
    ctx.reporter.event("stage", name="model", seconds=round(time.monotonic() - started, 3))
    engine = start_engine(ctx, model, tokenizer.eos_token_id)
    try:
        for done in generate_chunks(engine, plans, ctx.reporter, ctx.stop, reproducible=config.generation.reproducible):
            _commit(ctx, done, decode(tokenizer, done))
    finally:
        engine.close()


def start_engine(ctx: PhaseContext, model: Path, eos_token_id: int | None) -> Engine:
    """An engine for the config's sampling; says how long it took."""
    config = ctx.config
    started = time.monotonic()
    engine = Engine(
        EngineSettings(
            model=model,
            max_prompt_tokens=config.training.max_prompt_length,
            max_new_tokens=config.generation.max_tokens,
            tensor_parallel_size=config.generation.tensor_parallel_size,
            trust_remote_code=config.model.trust_remote_code,
            engine_args=config.generation.engine_args,
        ),
        Sampling(
            temperature=config.generation.temperature,
            top_p=config.generation.top_p,
            max_tokens=config.generation.max_tokens,
            stop_token_ids=stop_token_ids(model, eos_token_id),
        ),
    )
    ctx.reporter.event("stage", name="engine", seconds=round(time.monotonic() - started, 3))
    return engine


def _commit(ctx: PhaseContext, responses: ChunkResponses, texts: Sequence[str]) -> None:
    chunk = responses.plan.chunk
    path = ctx.scratch / f"responses-{chunk:05d}.parquet"
    table = responses_table(responses, texts)
    pq.write_table(table, path)
    counts = count_responses(responses, texts)
    ctx.folder.commit_chunk(chunk, {"responses.parquet": path}, rows=len(table), metrics=counts)
    path.unlink()
