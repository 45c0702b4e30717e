"""`spec.data`: prompts and their preference pairs, what is made of them, and which are trained on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selm_operator.api.base import (
    Change,
    Column,
    Default,
    Int,
    Iteration,
    Number,
    Revision,
    SourceUri,
    SpecModel,
    Text,
)
from selm_operator.api.pods import Resources

Split = Annotated[Text, Field(min_length=1, max_length=128)]


class ColumnsSpec(SpecModel):
    """Names of the data's columns."""

    prompt: Annotated[Column, Field(description="the column of the prompt."), Change.IMMUTABLE] = "prompt"
    chosen: Annotated[Column, Field(description="the column of the preferred response."), Change.IMMUTABLE] = "chosen"
    rejected: Annotated[Column, Field(description="the column of the other response."), Change.IMMUTABLE] = "rejected"


class HeldOutSpec(SpecModel):
    """Rows for evaluation, never trained on."""

    split: Annotated[Split, Field(description="the split of the rows.")]
    limit: Annotated[Int, Field(ge=1, le=1_000_000, description="rows at most.")] = 500


class RewardAugmentedSpec(SpecModel):
    """How prompts ask for a score."""

    goal: Annotated[
        Number,
        Field(
            ge=-1_000_000,
            le=1_000_000,
            description="the score that generation and evaluation ask for: the top of the scorers' scale.",
        ),
    ]
    chosen_score_column: Annotated[
        Column, Field(description="the data's column of the chosen response's score, for the data's own pairs.")
    ] = "score_chosen"
    rejected_score_column: Annotated[
        Column, Field(description="the data's column of the rejected response's score, for the data's own pairs.")
    ] = "score_rejected"


class SelectionSpec(SpecModel):
    """Which rows are trained on: those that the base model finds likeliest (GRAPE, arXiv 2502.04194)."""

    of: Annotated[
        Literal["Chosen", "Best", "Prompt"],
        Field(
            description="what of a row is measured, by its mean log-probability a token: the chosen response, the likelier "
            "one of its two responses, or the prompt."
        ),
        Change.IMMUTABLE,
    ] = "Chosen"
    keep: Annotated[
        Number,
        Field(gt=0, le=1, description="the share of the rows that is kept, rounded down; of equals the earlier row."),
        Change.IMMUTABLE,
    ]
    resources: Annotated[
        Resources | None,
        Field(
            description="the compute resources of Preparation's pod, as in a container; a GPU is used where there is one."
        ),
        Default("the operator's setting for Preparation, on the CPU"),
        Change.SUSPENDED,
    ] = None


class DataSpec(SpecModel):
    """Prompts and their preference pairs."""

    uri: Annotated[
        SourceUri,
        Field(description="the place of the data: hf://, s3:// or file:// (a mounted volume)."),
        Change.IMMUTABLE,
    ]
    revision: Annotated[
        Revision,
        Field(description="the branch, tag or commit; Preparation pins it to a digest."),
        Change.IMMUTABLE,
    ] = "main"
    split: Annotated[Split, Field(description="the split that is trained on."), Change.IMMUTABLE] = "train"
    format: Annotated[
        Literal["Auto", "UltraFeedback", "AnthropicHH", "Nectar", "Prompts", "MultiTurn"],
        Field(description="the layout of the rows; Auto tells it from the columns."),
        Change.IMMUTABLE,
    ] = "Auto"
    columns: Annotated[ColumnsSpec, Field(description="the names of the columns.")] = ColumnsSpec()
    portions: Annotated[
        Iteration | None,
        Field(description="portions that the rows are cut into; iteration t takes portion (t-1) mod portions."),
        Default("iterations, which then cannot grow"),
        Change.IMMUTABLE,
    ] = None
    held_out: Annotated[
        HeldOutSpec | None,
        Field(description="the rows for evaluation, never trained on."),
        Default("the last 500 rows of the split, at most a tenth"),
        Change.IMMUTABLE,
    ] = None
    transform: Annotated[
        Literal["None", "RewardAugmented"],
        Field(
            description="what is made of the pairs: RewardAugmented makes two of each, one that asks for the chosen "
            "response's score and one, reversed, that asks for the rejected response's."
        ),
        Change.IMMUTABLE,
    ] = "None"
    reward_augmented: Annotated[
        RewardAugmentedSpec | None,
        Field(description="how prompts ask for a score, only with transform RewardAugmented."),
        Default("none"),
        Change.IMMUTABLE,
    ] = None
    selection: Annotated[
        SelectionSpec | None,
        Field(description="which rows are trained on, by their fit to the base model."),
        Default("all of them"),
        Change.KEYED,
    ] = None
