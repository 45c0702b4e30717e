"""How well a row fits the base model: the mean log-probability, a token, of its response or prompt.

GRAPE (arXiv 2502.04194) keeps of several responses to a prompt the one with the highest length-normalised log-probability
under the base model, argmax log pi(y|x) / |y|: what is far from the model's own distribution teaches it less. Here rows are
ranked by that figure and the likeliest are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from selm_runtime.contract import TrainingConfig
from selm_runtime.data.rows import copy_where
from selm_runtime.data.tokens import Tokenizer, encode_prompt, truncate, truncate_prompt
from selm_runtime.data.turns import encode_side, in_loss
from selm_runtime.errors import InvalidInput

Of = Literal["Chosen", "Best", "Prompt"]


class Measured(NamedTuple):
    """What of a row the model is asked about: `texts` follow `context`; of several the likeliest counts."""

    context: list[int]
    texts: list[list[int]]


def measured(tokenizer: Tokenizer, row: Mapping[str, Any], of: Of, training: TrainingConfig) -> Measured:
    """The token ids of a PROMPTS row, cut as Training cuts them.

    Raises InvalidInput for a prompt of one token, of which nothing can be predicted.
    """
    prompt = encode_prompt(tokenizer, row["prompt"], f"row {row['row']}")
    if of == "Prompt":
        cut = truncate_prompt(prompt, training)
        if len(cut) < 2:
            raise InvalidInput(
                "InvalidData", f"spec.data.selection.of: row {row['row']}: found a prompt of one token, allowed are two"
            )
        return Measured(cut[:1], [cut[1:]])
    sides = ("chosen",) if of == "Chosen" else ("chosen", "rejected")
    return Measured(*truncate(prompt, [encode_side(tokenizer, row, side) for side in sides], training))


def fit(text: Measured, sums: Sequence[float]) -> float:
    """Nats a token, by the summed log-probs of the texts in their order; what others said (`data.turns`) is not counted.

    NaN where one of the sums is.
    """
    means = [total / sum(in_loss(token) for token in ids) for ids, total in zip(text.texts, sums, strict=True)]
    return math.nan if any(map(math.isnan, means)) else max(means)


def rows_kept(rows: int, keep: float) -> int:
    """How many of `rows` a share keeps: rounded down, as the decimal number that was written, and at least one of some."""
    return min(rows, max(1, math.floor(Decimal(str(keep)) * rows)))


def fittest(log_probs: Sequence[float], count: int) -> list[int]:
    """The places of the `count` highest, in ascending order; of equals the earlier one is kept.

    Raises InvalidInput where one is no number: the model's weights are damaged.
    """
    if any(math.isnan(value) for value in log_probs):
        raise InvalidInput("DamagedModel", "spec.model: it gives log-probabilities that are no numbers")
    ranked = sorted(range(len(log_probs)), key=lambda place: (-log_probs[place], place))
    return sorted(ranked[:count])


def copy_places(source: Path, places: Sequence[int], target: Path) -> None:
    """Write the rows at these places (ascending) of a file of PROMPTS to another, numbers kept, in bounded memory."""
    wanted = frozenset(places)
    copy_where(source, lambda first, batch: [place in wanted for place in range(first, first + len(batch))], target)
