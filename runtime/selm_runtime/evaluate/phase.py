"""Evaluation's course: responses, rewards, log-probs, figures, best iteration, retention, commit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.data.rows import held_out_rows_of
from selm_runtime.data.tokens import load_tokenizer
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate.held_out import generate_held_out
from selm_runtime.evaluate.history import LOG_PROBS_FILE, RESPONSES_FILE, REWARDS_FILE, Past, read_history
from selm_runtime.evaluate.log_probs import measure_log_probs
from selm_runtime.evaluate.measures import (
    HeldOutLogProbs,
    MaybeScores,
    RewardFigures,
    divergence,
    preference_accuracy,
    reward_figures,
)
from selm_runtime.evaluate.retention import models_to_remove, remove_models
from selm_runtime.evaluate.selection import Standing, best_iteration
from selm_runtime.phase import PhaseContext
from selm_runtime.score.interface import Scorable
from selm_runtime.score.scorers import COMBINED, Scores, close_all, score_held_out
from selm_runtime.score.shard import run_scorers
from selm_runtime.tables import HELD_OUT_LOG_PROBS, HELD_OUT_REWARDS

Row = Mapping[str, Any]


def evaluate(ctx: PhaseContext) -> None:
    """The whole phase; see the package's docstring."""
    preparation = ctx.folder.manifest(Phase.PREPARATION, 0)
    rows = held_out_rows_of(ctx.folder)
    if not rows:
        raise InvalidInput("NoHeldOutRows", "spec.data.heldOut: no held-out row to evaluate on; at least one is needed")
    past = read_history(ctx)
    with stage(ctx, "model"):
        model = ctx.cache.model(policy_manifest(ctx, preparation))
        tokenizer = load_tokenizer(model, trust_remote_code=ctx.config.model.trust_remote_code)
    responses = generate_held_out(ctx, model, tokenizer, rows)
    with stage(ctx, "scores"):
        scores = _score(ctx, preparation, rows, responses)
    ctx.stop.check()
    log_probs, explored = measure_log_probs(ctx, preparation, model, tokenizer, rows, responses)
    figures = {name: _figures(past, name, scores.of(name)) for name in (COMBINED, *scores.by_scorer)}
    selected = ctx.config.evaluation.select_by.scorer or COMBINED
    accuracy = preference_accuracy(log_probs, past.base_log_probs if ctx.config.iteration else None)
    standing = _standing(ctx.config.iteration, len(rows), figures[selected], accuracy)
    best = best_iteration([*past.standings, standing], ctx.config.evaluation.select_by)
    metrics = _metrics(ctx.config.iteration, figures[selected], log_probs, accuracy, explored)
    facts = {
        "bestIteration": best,
        "selectedScorer": selected,
        "standing": asdict(standing),
        "scorers": {name: asdict(values) for name, values in figures.items()},
        "heldOutRows": len(rows),
        "preferenceRows": sum(held.chosen is not None for held in log_probs),
    }
    remove_models(ctx.folder, models_to_remove(ctx.config.retention, ctx.config.iteration, best))
    files = _write(ctx.scratch, responses, scores, log_probs)
    ctx.folder.commit(files, rows=len(rows), metrics={**metrics, **_lengths(responses)}, facts=facts)


def policy_manifest(ctx: PhaseContext, preparation: Manifest) -> Manifest:
    """Of the phase that made the policy under evaluation: this iteration's Training, or Preparation for the base."""
    iteration = ctx.config.iteration
    return ctx.folder.manifest(Phase.TRAINING, iteration) if iteration else preparation


@contextmanager
def stage(ctx: PhaseContext, name: str) -> Iterator[None]:
    """Says how many seconds a stage took."""
    started = time.monotonic()
    yield
    ctx.reporter.event("stage", name=name, seconds=round(time.monotonic() - started, 3))


def _score(ctx: PhaseContext, preparation: Manifest, rows: Sequence[Row], responses: pa.Table) -> Scores:
    base = None
    if ctx.config.iteration:
        base = _scorables(rows, ctx.folder.read_table(ctx.folder.manifest(Phase.EVALUATION, 0), RESPONSES_FILE))
    scorers = run_scorers(ctx, preparation)
    try:
        return score_held_out(scorers, _scorables(rows, responses), base, ctx.config.scoring)
    finally:
        close_all(scorers)


def _scorables(rows: Sequence[Row], responses: pa.Table) -> list[Scorable]:
    return [
        Scorable(
            row["row"],
            row["prompt"],
            response["text"],
            response["finish_reason"],
            dict(row["columns"]),
            len(response["response_ids"]),
        )
        for row, response in zip(rows, responses.to_pylist(), strict=True)
    ]


def _figures(past: Past, scorer: str, scores: MaybeScores) -> RewardFigures:
    return reward_figures(scores, past.base_scores(scorer), past.previous_scores(scorer))


def _standing(iteration: int, prompts: int, figures: RewardFigures, accuracy: float | None) -> Standing:
    return Standing(
        iteration=iteration,
        prompts=prompts,
        mean_reward=figures.mean_reward,
        win_rate_base=figures.win_rate_base,
        win_rate_previous=figures.win_rate_previous,
        preference_accuracy=accuracy,
    )


def _metrics(
    iteration: int,
    figures: RewardFigures,
    log_probs: Sequence[HeldOutLogProbs],
    accuracy: float | None,
    explored: float | None,
) -> dict[str, float]:
    kl, kl_per_token = divergence(log_probs)
    metrics: dict[str, float | None] = {
        "meanReward": figures.mean_reward,
        "meanRewardCI95": figures.mean_reward_half_width,
        "rewardGain": figures.gain if iteration else None,
        "rewardGainCI95": figures.gain_half_width if iteration else None,
        "winRateBase": figures.win_rate_base,
        "winRatePrevious": figures.win_rate_previous,
        "preferenceAccuracy": accuracy,
        "kl": kl,
        "klPerToken": kl_per_token,
        "exploredLogRatio": explored,
    }
    return {name: value for name, value in metrics.items() if value is not None}


def _lengths(responses: pa.Table) -> dict[str, float]:
    lengths = [len(ids) for ids in responses["response_ids"].to_pylist()]
    texts = responses["text"].to_pylist()
    reasons = responses["finish_reason"].to_pylist()
    return {
        "meanLength": sum(lengths) / len(lengths),
        "meanWords": sum(len(text.split()) for text in texts) / len(texts),
        "finishedRate": sum(reason == "stop" for reason in reasons) / len(reasons),
        "emptyRate": sum(not text.strip() for text in texts) / len(texts),
    }


def _write(scratch: Path, responses: pa.Table, scores: Scores, log_probs: Sequence[HeldOutLogProbs]) -> dict[str, Path]:
    rewards = [
        {"row": row, "combined": combined, "scores": [(name, its[i]) for name, its in scores.by_scorer.items()]}
        for i, (row, combined) in enumerate(zip(responses["row"].to_pylist(), scores.combined, strict=True))
    ]
    tables = {
        RESPONSES_FILE: responses,
        REWARDS_FILE: pa.Table.from_pylist(rewards, schema=HELD_OUT_REWARDS),
        LOG_PROBS_FILE: pa.Table.from_pylist([asdict(held) for held in log_probs], schema=HELD_OUT_LOG_PROBS),
    }
    for name, table in tables.items():
        pq.write_table(table, scratch / name)
    return {name: scratch / name for name in tables}
