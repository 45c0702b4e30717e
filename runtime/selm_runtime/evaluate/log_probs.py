"""Which responses' log-probs Evaluation needs, of which models, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.data.tokens import Tokenizer, truncate
from selm_runtime.data.turns import encode_side
from selm_runtime.evaluate.forward import LogProbSums, Passage, first_sums, log_prob_sums
from selm_runtime.evaluate.measures import HeldOutLogProbs, mean_log_ratio
from selm_runtime.inputs import model_after, reference_model
from selm_runtime.phase import PhaseContext
from selm_runtime.train.job import REFERENCE_FILE
from selm_runtime.train.objectives import explored_policy

EXPLORED_ROWS = 512
"""Of an iteration's pairs the explored log-ratio takes the first so many: a mean, not a second pass over all data."""


def measure_log_probs(
    ctx: PhaseContext,
    preparation: Manifest,
    policy: Path,
    tokenizer: Tokenizer,
    rows: Sequence[Mapping[str, Any]],
    responses: pa.Table,
) -> tuple[list[HeldOutLogProbs], float | None]:
    """The held-out rows' log-probs in the rows' order, and the explored log-ratio (None without explored responses).

    Each model is loaded once and freed before the next: the policy, the base, and the iteration's reference where
    that is not the base and Training kept none of its log-probs.
    """
    held_out = [
        _held_out_passage(ctx, tokenizer, row, given) for row, given in zip(rows, responses.to_pylist(), strict=True)
    ]
    explored = _explored_passages(ctx)
    reference = _kept_reference(ctx)
    if reference:
        explored = [passage for passage in explored if passage.row in reference]
    ours, ours_explored = _run(ctx, "policy", policy, [held_out, explored])
    base_responses = {row: sums[:1] for row, sums in ours.items()}
    if ctx.config.iteration:
        own = [Passage(passage.row, passage.prompt, passage.responses[:1]) for passage in held_out]
        wanted = explored if not reference and reference_model(ctx.config) == model_after(0) else []
        base_responses, by_base = _run(ctx, "base", ctx.cache.model(preparation), [own, wanted])
        reference = reference or first_sums(by_base)
    if explored and not reference:
        manifest = ctx.folder.manifest(*reference_model(ctx.config))
        (by_reference,) = _run(ctx, "reference", ctx.cache.model(manifest), [explored])
        reference = first_sums(by_reference)
    measured = [
        HeldOutLogProbs(
            row=passage.row,
            response=ours[passage.row][0],
            response_base=base_responses[passage.row][0],
            response_tokens=len(passage.responses[0]),
            chosen=ours[passage.row][1] if len(passage.responses) == 3 else None,
            rejected=ours[passage.row][2] if len(passage.responses) == 3 else None,
        )
        for passage in held_out
    ]
    return measured, mean_log_ratio(first_sums(ours_explored), reference)


def _run(ctx: PhaseContext, name: str, model: Path, groups: Sequence[Sequence[Passage]]) -> list[LogProbSums]:
    def between(done: int, total: int) -> None:
        ctx.stop.check()
        ctx.reporter.progress(done=done, total=total, unit="rows")

    with ctx.reporter.stage(f"log-probs-{name}"):
        return log_prob_sums(model, groups, ctx.config, between)


def _kept_reference(ctx: PhaseContext) -> dict[int, float]:
    """The reference's log-probs of the explored responses, where this iteration's Training kept them; else empty.

    They spare loading the reference, which retention may have removed after an attempt that died here. An objective
    that explores the reference's own responses kept those of others than are measured here.
    """
    if not ctx.config.iteration or explored_policy(ctx.config) != "Current":
        return {}
    training = ctx.folder.manifest(Phase.TRAINING, ctx.config.iteration)
    if not training.under(REFERENCE_FILE):
        return {}
    kept = ctx.folder.read_table(training, REFERENCE_FILE).to_pylist()
    return {row["row"]: row["explored"][0] for row in kept if row["explored"]}


def _held_out_passage(
    ctx: PhaseContext, tokenizer: Tokenizer, row: Mapping[str, Any], response: Mapping[str, Any]
) -> Passage:
    """The policy's own response, then the data's chosen and rejected where the row has both."""
    responses = [response["response_ids"]]
    if row["chosen"] is not None and row["rejected"] is not None:
        responses += [encode_side(tokenizer, row, side) for side in ("chosen", "rejected")]
    return _passage(ctx, row["row"], response["prompt_ids"], responses)


def _passage(ctx: PhaseContext, row: int, prompt: Sequence[int], responses: Sequence[Sequence[int]]) -> Passage:
    """Cut as Training cuts."""
    cut_prompt, cut = truncate(prompt, responses, ctx.config.training)
    return Passage(row, tuple(cut_prompt), tuple(tuple(response) for response in cut))


def _explored_passages(ctx: PhaseContext) -> list[Passage]:
    """The explored responses of the iteration's pairs; none where Scoring was skipped."""
    iteration = ctx.config.iteration
    if not iteration or ctx.config.manifest_of(Phase.SCORING, iteration) is None:
        return []
    scoring = ctx.folder.manifest(Phase.SCORING, iteration)
    passages: list[Passage] = []
    for entry in sorted(scoring.under("chunks/"), key=lambda entry: entry.name):
        if len(passages) >= EXPLORED_ROWS:
            break
        table = ctx.folder.read_table(scoring, entry.name).select(["row", "prompt_ids", "explored_ids"])
        passages += [
            _passage(ctx, pair["row"], pair["prompt_ids"], [pair["explored_ids"]]) for pair in table.to_pylist()
        ]
    return passages[:EXPLORED_ROWS]
