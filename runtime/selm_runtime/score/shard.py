"""One shard of Scoring: Generation's chunks that are its own and not committed yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from selm_runtime.artifacts.chunks import chunk_ranges, chunks_of_shard
from selm_runtime.artifacts.compose import chunk_name
from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.data.rows import portion_rows
from selm_runtime.data.tokens import Tokenizer, encode_response, load_tokenizer
from selm_runtime.generate.work import response_chunks
from selm_runtime.phase import PhaseContext
from selm_runtime.score.candidates import EncodeResponse, PromptCandidates, gather, takes_offline
from selm_runtime.score.interface import WeightedScorer
from selm_runtime.score.judges import build_judge
from selm_runtime.score.pairs import count_pairs, pair_prompts, pairs_table, seeded_draws, summarise
from selm_runtime.score.scorers import build_scorers, close_all, counts_of, score_prompts

Row = Mapping[str, Any]
WEIGHT_FILES = (".safetensors", ".safetensors.index.json")


def run_shard(ctx: PhaseContext) -> None:
    """Scores what is missing of this shard's chunks, then composes the phase if all shards' chunks are there."""
    rows = portion_rows(ctx.folder)
    ranges = chunk_ranges(len(rows))
    committed = ctx.folder.chunks()
    mine = chunks_of_shard(len(ranges), ctx.index, ctx.config.scoring.shards)
    todo = [chunk for chunk in mine if chunk not in committed]
    if todo:
        _score(ctx, {chunk: [rows[i] for i in ranges[chunk]] for chunk in todo})
    ctx.folder.compose(len(ranges), summarise)


def _score(ctx: PhaseContext, rows: Mapping[int, Sequence[Row]]) -> None:
    with ctx.reporter.stage("scorers"):
        preparation = ctx.folder.manifest(Phase.PREPARATION, 0)
        generation = ctx.folder.manifest(Phase.GENERATION, ctx.config.iteration)
        offline = takes_offline(ctx.config.scoring.pairing)
        tokenizer = base_tokenizer(ctx, preparation) if offline else None
        encode: EncodeResponse | None = None if tokenizer is None else (lambda text: encode_response(tokenizer, text))
        scorers = run_scorers(ctx, preparation)
    total, done = sum(map(len, rows.values())), 0
    try:
        for chunk, its_rows in rows.items():
            ctx.stop.check()
            responses = _responses(ctx, generation, chunk)
            figures = _commit(ctx, chunk, gather_chunk(its_rows, responses, encode), scorers)
            done += len(its_rows)
            ctx.reporter.progress(done=done, total=total, unit="prompts", force=False, **figures)
    finally:
        close_all(scorers)


def _responses(ctx: PhaseContext, generation: Manifest, chunk: int) -> list[Row]:
    """Those of every policy to the chunk's rows."""
    made = response_chunks(chunk, ctx.folder.total_chunks(), ctx.config.generation.policies)
    names = [chunk_name(its, "responses.parquet") for its in made]
    return [row for name in names for row in ctx.folder.read_table(generation, name).to_pylist()]


def run_scorers(ctx: PhaseContext, preparation: Manifest) -> list[WeightedScorer]:
    """The run's scorers, their models from Preparation's imports."""
    return build_scorers(
        ctx.config.scoring,
        lambda name: ctx.cache.model(preparation, f"scorers/{name}/"),
        lambda scorer, judge, field: build_judge(ctx, preparation, scorer, judge, field),
        ctx.stop.check,
    )


def base_tokenizer(ctx: PhaseContext, preparation: Manifest) -> Tokenizer:
    """The tokenizer, the same in every iteration, without the weights that lie beside it."""
    folder = ctx.scratch / "tokenizer"
    for entry in preparation.under("model/"):
        if not entry.name.endswith(WEIGHT_FILES):
            ctx.folder.fetch(preparation, entry.name, folder)
    return load_tokenizer(folder, trust_remote_code=ctx.config.model.trust_remote_code)


def gather_chunk(
    rows: Sequence[Row], responses: Sequence[Row], encode_offline: EncodeResponse | None
) -> list[PromptCandidates]:
    """The candidates of a chunk's rows, in the rows' order; the data's own with `encode_offline`."""
    of_row: dict[int, list[Row]] = {row["row"]: [] for row in rows}
    for response in responses:
        of_row[response["row"]].append(response)
    return [gather(row, of_row[row["row"]], encode_offline) for row in rows]


def _commit(
    ctx: PhaseContext, chunk: int, prompts: Sequence[PromptCandidates], scorers: Sequence[WeightedScorer]
) -> dict[str, float]:
    """Scores, pairs and commits one chunk; its generated candidates' mean score, where there is one, for the log."""
    config = ctx.config
    scores = score_prompts(scorers, [prompt.scorables for prompt in prompts], config.scoring)
    draws = seeded_draws(config.seed, config.iteration)
    paired = pair_prompts(prompts, scores.combined, config.scoring.pairing, draws)
    table = pairs_table(paired)
    path = ctx.scratch / f"pairs-{chunk:05d}.parquet"
    pq.write_table(table, path)
    counts = count_pairs(paired) | counts_of(scorers)
    ctx.folder.commit_chunk(chunk, {"pairs.parquet": path}, rows=len(table), metrics=counts)
    path.unlink()
    known = counts["generatedScored"]
    return {"reward": round(counts["generatedReward"] / known, 4)} if known else {}
