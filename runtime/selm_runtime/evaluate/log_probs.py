"""Which responses' log-probs Evaluation needs, of which models, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.data.tokens import Tokenizer, truncate
from selm_runtime.data.turns import encode_side
from selm_runtime.evaluate.forward import MOST_RESPONSES, LogProbSums, Passage, log_prob_sums
from selm_runtime.evaluate.measures import HeldOutLogProbs, mean_log_ratio
from selm_runtime.inputs import model_after, reference_model
from selm_runtime.phase import PhaseContext
from selm_runtime.train.data import explored_responses
from selm_runtime.train.job import REFERENCE_FILE

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
    reference = _kept_reference(ctx)
    explored = _Explored.of(ctx, only=reference)
    ours, ours_explored = _run(ctx, "policy", policy, [held_out, explored.passages])
    base_responses = {row: sums[:1] for row, sums in ours.items()}
    if ctx.config.iteration:
        own = [Passage(passage.row, passage.prompt, passage.responses[:1]) for passage in held_out]
        wanted = explored.passages if not reference and reference_model(ctx.config) == model_after(0) else []
        base_responses, by_base = _run(ctx, "base", ctx.cache.model(preparation), [own, wanted])
        reference = reference or explored.by_row(by_base)
    if explored.passages and not reference:
        manifest = ctx.folder.manifest(*reference_model(ctx.config))
        (by_reference,) = _run(ctx, "reference", ctx.cache.model(manifest), [explored.passages])
        reference = explored.by_row(by_reference)
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
    return measured, mean_log_ratio(explored.by_row(ours_explored), reference)


def _run(ctx: PhaseContext, name: str, model: Path, groups: Sequence[Sequence[Passage]]) -> list[LogProbSums]:
    def between(done: int, total: int) -> None:
        ctx.stop.check()
        ctx.reporter.progress(done=done, total=total, unit="rows")

    with ctx.reporter.stage(f"log-probs-{name}"):
        return log_prob_sums(model, groups, ctx.config, between)


@dataclass(frozen=True)
class _Explored:
    """Explored responses as passages; a pair with more of them than a passage holds has several. `rows`: whose each is."""

    passages: list[Passage]
    rows: list[int]

    @classmethod
    def of(cls, ctx: PhaseContext, *, only: Mapping[int, Any]) -> _Explored:
        """Those that Training explored of the iteration's first pairs; of the rows in `only` where that is not empty."""
        found = cls([], [])
        for row, prompt, responses in islice(_explored(ctx), EXPLORED_ROWS):
            if only and row not in only:
                continue
            for first in range(0, len(responses), MOST_RESPONSES):
                part = responses[first : first + MOST_RESPONSES]
                found.passages.append(_passage(ctx, len(found.passages), prompt, part))
                found.rows.append(row)
        return found

    def by_row(self, sums: LogProbSums) -> dict[int, tuple[float, ...]]:
        """Of the passages' sums, by number: each row's, in the order of its responses. Empty for empty ones."""
        found: dict[int, tuple[float, ...]] = {}
        for number, its in sorted(sums.items()):
            found[self.rows[number]] = found.get(self.rows[number], ()) + its
        return found


def _kept_reference(ctx: PhaseContext) -> dict[int, tuple[float, ...]]:
    """The reference's log-probs of the explored responses, where this iteration's Training kept them; else empty.

    They spare loading the reference, which retention may have removed after an attempt that died here.
    """
    if not ctx.config.iteration:
        return {}
    training = ctx.folder.manifest(Phase.TRAINING, ctx.config.iteration)
    if not training.under(REFERENCE_FILE):
        return {}
    kept = ctx.folder.read_table(training, REFERENCE_FILE).to_pylist()
    return {row["row"]: tuple(row["explored"]) for row in kept if row["explored"]}


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


def _explored(ctx: PhaseContext) -> Iterator[tuple[int, Sequence[int], Sequence[Sequence[int]]]]:
    """Row, prompt and explored responses of the iteration's pairs; none where Scoring was skipped."""
    iteration = ctx.config.iteration
    if not iteration or ctx.config.manifest_of(Phase.SCORING, iteration) is None:
        return
    scoring = ctx.folder.manifest(Phase.SCORING, iteration)
    for entry in sorted(scoring.under("chunks/"), key=lambda entry: entry.name):
        for pair in ctx.folder.read_table(scoring, entry.name).to_pylist():
            # Of an objective that explores nothing, as the α = 0 arm, those that its exploring arm would take.
            yield pair["row"], pair["prompt_ids"], explored_responses(pair, ctx.config) or (pair["explored_ids"],)
