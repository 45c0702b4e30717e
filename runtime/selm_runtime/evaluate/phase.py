"""Evaluation's course: responses, rewards, log-probs, figures, best iteration, retention, commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from selm_runtime.evaluate.duels import Duel, duels_with_base, duels_with_previous
from selm_runtime.evaluate.generated import generate
from selm_runtime.evaluate.history import LOG_PROBS_FILE, RESPONSES_FILE, REWARDS_FILE, Past, read_history
from selm_runtime.evaluate.log_probs import measure_log_probs
from selm_runtime.evaluate.measures import (
    HeldOutLogProbs,
    LengthBias,
    MaybeScores,
    RewardFigures,
    divergence,
    length_bias,
    preference_accuracy,
    reward_figures,
)
from selm_runtime.evaluate.retention import models_to_remove, remove_models
from selm_runtime.evaluate.selection import Standing, best_iteration
from selm_runtime.evaluate.suites import plan_suites, run_suites
from selm_runtime.evaluate.texts import form_figures, length_figures
from selm_runtime.inputs import model_after
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
    with ctx.reporter.stage("model"):
        model = ctx.cache.model(policy_manifest(ctx))
        tokenizer = load_tokenizer(model, trust_remote_code=ctx.config.model.trust_remote_code)
    asked = plan_suites(ctx, preparation, model, tokenizer)
    responses, answers = generate(ctx, model, tokenizer, rows, asked)
    with ctx.reporter.stage("scores"):
        scores, with_base, with_previous = _score(ctx, preparation, rows, responses, past)
    ctx.stop.check()
    log_probs, explored = measure_log_probs(ctx, preparation, model, tokenizer, rows, responses)
    suites = run_suites(ctx, preparation, model, answers)
    names = (COMBINED, *scores.by_scorer)
    figures = {
        name: reward_figures(scores.of(name), past.base_scores(name), with_base.get(name), with_previous.get(name))
        for name in names
    }
    tokens = [len(ids) for ids in responses["response_ids"].to_pylist()]
    bias = {name: _length_bias(past, name, scores.of(name), tokens) for name in names}
    texts = responses["text"].to_pylist()
    lengths, form = length_figures(tokens, texts), form_figures(texts, responses["finish_reason"].to_pylist())
    selected = ctx.config.evaluation.select_by.scorer or COMBINED
    accuracy = preference_accuracy(log_probs, past.base_log_probs if ctx.config.iteration else None)
    standing = _standing(
        ctx.config.iteration, len(rows), figures[selected], accuracy, suites.selecting(ctx.config.evaluation.select_by)
    )
    best = best_iteration([*past.standings, standing], ctx.config.evaluation.select_by)
    metrics = {
        **_metrics(ctx.config.iteration, figures[selected], log_probs, accuracy, explored),
        **suites.metrics,  # before what a status has no room for
        **_text_metrics(bias[selected], lengths, form),
    }
    facts = {
        "bestIteration": best,
        "selectedScorer": selected,
        "standing": standing.as_facts(),
        "scorers": {name: {**asdict(figures[name]), "length_bias": asdict(bias[name])} for name in names},
        "lengths": lengths,
        "form": form,
        "heldOutRows": len(rows),
        "preferenceRows": sum(held.chosen is not None for held in log_probs),
        **({"suites": suites.facts} if suites.facts else {}),
    }
    remove_models(ctx.folder, models_to_remove(ctx.config.retention, ctx.config.iteration, best))
    files = {**_write(ctx.scratch, responses, scores, log_probs), **suites.files}
    ctx.folder.commit(files, rows=len(rows), metrics=metrics, facts=facts)


def policy_manifest(ctx: PhaseContext) -> Manifest:
    """Of the phase that made the policy under evaluation: this iteration's Training, or Preparation for the base."""
    return ctx.folder.manifest(*model_after(ctx.config.iteration))


def _score(
    ctx: PhaseContext, preparation: Manifest, rows: Sequence[Row], responses: pa.Table, past: Past
) -> tuple[Scores, Mapping[str, Duel], Mapping[str, Duel]]:
    """The scores, and by scorer's name both sides' in the comparison with the base and the iteration before."""
    ours = _scorables(rows, responses)
    base = _earlier(ctx, rows, 0) if ctx.config.iteration else None
    scorers = run_scorers(ctx, preparation)
    try:
        scores, bases = score_held_out(scorers, ours, base, ctx.config.scoring)
        with_base = duels_with_base(scores, bases, past)
        previous = _earlier(ctx, rows, ctx.config.iteration - 1) if ctx.config.iteration > 1 else None
        with_previous = duels_with_previous(scorers, scores, ours, previous, past, ctx.config.scoring, with_base)
        return scores, with_base, with_previous
    finally:
        close_all(scorers)


def _earlier(ctx: PhaseContext, rows: Sequence[Row], iteration: int) -> list[Scorable]:
    """The responses that the Evaluation of an earlier iteration kept."""
    return _scorables(rows, ctx.folder.read_table(ctx.folder.manifest(Phase.EVALUATION, iteration), RESPONSES_FILE))


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


def _length_bias(past: Past, scorer: str, scores: MaybeScores, tokens: Sequence[int]) -> LengthBias:
    base = past.base_scores(scorer)
    return length_bias(scores, tokens, None if base is None or past.base_tokens is None else (base, past.base_tokens))


def _standing(
    iteration: int, prompts: int, figures: RewardFigures, accuracy: float | None, suite: float | None
) -> Standing:
    return Standing(
        iteration=iteration,
        prompts=prompts,
        mean_reward=figures.mean_reward,
        win_rate_base=figures.win_rate_base,
        win_rate_previous=figures.win_rate_previous,
        preference_accuracy=accuracy,
        suite=suite,
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
        "winRateBase": figures.base.rate,
        "winRateBaseLow": figures.base.low if iteration else None,
        "winRateBaseHigh": figures.base.high if iteration else None,
        "winRatePrevious": figures.previous.rate,
        "preferenceAccuracy": accuracy,
        "kl": kl,
        "klPerToken": kl_per_token,
        "exploredLogRatio": explored,
    }
    return {name: value for name, value in metrics.items() if value is not None}


def _text_metrics(bias: LengthBias, lengths: Mapping[str, float], form: Mapping[str, float]) -> dict[str, float]:
    """Of sixteen metrics that a status has room for: the rest of lengths and form is in the facts."""
    metrics = {
        "meanLength": lengths["mean"],
        "rewardLengthCorrelation": bias.correlation,
        "finishedRate": form["finishedRate"],
        "emptyRate": form["emptyRate"],
    }
    return {name: value for name, value in metrics.items() if value is not None}


def _write(scratch: Path, responses: pa.Table, scores: Scores, log_probs: Sequence[HeldOutLogProbs]) -> dict[str, Path]:
    """The responses lie in `scratch` already."""
    rewards = [
        {"row": row, "combined": combined, "scores": [(name, its[i]) for name, its in scores.by_scorer.items()]}
        for i, (row, combined) in enumerate(zip(responses["row"].to_pylist(), scores.combined, strict=True))
    ]
    tables = {
        REWARDS_FILE: pa.Table.from_pylist(rewards, schema=HELD_OUT_REWARDS),
        LOG_PROBS_FILE: pa.Table.from_pylist([asdict(held) for held in log_probs], schema=HELD_OUT_LOG_PROBS),
    }
    for name, table in tables.items():
        pq.write_table(table, scratch / name)
    return {name: scratch / name for name in (RESPONSES_FILE, *tables)}
