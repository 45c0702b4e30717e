"""What Preparation refuses before any other Job exists: pure functions of the config and what was found."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selm_runtime.contract import PhaseConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score.candidates import takes_offline


@dataclass(frozen=True)
class DataFacts:
    """What the checks know of the data."""

    portions: Sequence[int]
    """Rows of each."""
    held_out: int
    has_pairs: bool
    held_out_has_pairs: bool
    format: str
    overlap: int = 0
    """Rows left out of training, for their prompts are evaluated on."""
    left_out: int = 0
    """Rows that `data.selection` leaves out beside those."""


def check_data(config: PhaseConfig, facts: DataFacts) -> None:
    """Raises InvalidInput at the first impossible combination of spec and data."""
    _check_held_out(config, facts)
    _check_pairs(config, facts)
    _check_selection(config, facts)
    _check_turns(config, facts)
    _check_sizes(config, facts)


def score_columns(config: PhaseConfig) -> dict[str, str]:
    """The columns that the scores of the data's own pairs are read from, by their fields; none where they are not read."""
    augmented = config.data.reward_augmented
    own_pairs = config.training.pairs == "Offline" or config.offline_iterations or config.training.offline_share
    if augmented is None or not own_pairs:
        return {}
    return {
        "spec.data.rewardAugmented.chosenScoreColumn": augmented.chosen_score_column,
        "spec.data.rewardAugmented.rejectedScoreColumn": augmented.rejected_score_column,
    }


def check_score_columns(config: PhaseConfig, columns: Collection[str]) -> None:
    """Raises InvalidInput where pairs of the data's own are to be reward-augmented and have no columns with scores.

    `columns`: those that every row for training has.
    """
    for field, name in score_columns(config).items():
        if name not in columns:
            there = ", ".join(sorted(columns)) or "none"
            raise InvalidInput(
                "NoScores",
                f"{field}: found {name!r}, which not every row has; allowed is one of the "
                f"columns with the scores of the data's own pairs (there are: {there})",
            )


def check_model(config: PhaseConfig, model: Mapping[str, Any]) -> None:
    """Raises InvalidInput where the lengths of the spec exceed the model's, or its weights are quantised and the spec
    does not say so; `model` is its config.json.
    """
    _check_quantization(config, model)
    limit = model.get("max_position_embeddings")
    if not isinstance(limit, int):
        return
    training, generation = config.training, config.generation
    if training.max_length > limit:
        raise InvalidInput(
            "TooLong", f"spec.training.maxLength: found {training.max_length}, allowed is at most the model's {limit}"
        )
    asked = training.max_prompt_length + generation.max_tokens
    if asked > limit:
        raise InvalidInput(
            "TooLong",
            f"spec.generation.maxTokens: found {generation.max_tokens} beside spec.training.maxPromptLength "
            f"{training.max_prompt_length}; allowed is at most the model's {limit} together",
        )


def _check_quantization(config: PhaseConfig, model: Mapping[str, Any]) -> None:
    found = model.get("quantization_config") or {}
    if found and not config.generation.engine_args.get("quantization"):
        method = found.get("quant_method", "unknown")
        raise InvalidInput(
            "QuantizedModel",
            f"spec.model.uri: found weights quantised by {method!r}; a quantised engine samples another policy, so it is "
            f"allowed only with spec.generation.engineArgs.quantization: {method}",
        )


def _check_held_out(config: PhaseConfig, facts: DataFacts) -> None:
    if facts.held_out == 0:
        given = config.data.held_out
        raise InvalidInput(
            "NoHeldOutRows",
            f"spec.data.heldOut.split: split {given.split!r} has no row; evaluation needs at least one"
            if given
            else "spec.data.heldOut: found none, and the split's rows are too few to hold back a tenth (at least 10 "
            "rows); allowed is a split of its own",
        )
    select = config.evaluation.select_by
    if select.metric == "PreferenceAccuracy" and not facts.held_out_has_pairs:
        raise InvalidInput(
            "NoOfflinePairs",
            "spec.evaluation.selectBy.metric: found PreferenceAccuracy, but the held-out rows have no chosen and "
            "rejected responses; allowed are MeanReward and WinRate",
        )


def _check_pairs(config: PhaseConfig, facts: DataFacts) -> None:
    if facts.has_pairs:
        return
    if config.training.pairs == "Offline" or config.offline_iterations:
        raise InvalidInput(
            "NoOfflinePairs",
            f"spec.schedule: found pairs Offline, but the data (format {facts.format}) has no chosen and rejected "
            "responses; allowed is Online",
        )
    if config.scoring.pairing.offline == "Include":
        raise InvalidInput(
            "NoOfflinePairs",
            f"spec.scoring.pairing.offline: found Include, but the data (format {facts.format}) has no chosen and "
            "rejected responses; allowed is Exclude",
        )


def _check_selection(config: PhaseConfig, facts: DataFacts) -> None:
    selection = config.data.selection
    if selection is not None and selection.of != "Prompt" and not facts.has_pairs:
        raise InvalidInput(
            "NoOfflinePairs",
            f"spec.data.selection.of: found {selection.of}, but the data (format {facts.format}) has no chosen and "
            "rejected responses; allowed is Prompt",
        )


def _check_turns(config: PhaseConfig, facts: DataFacts) -> None:
    online = len(set(config.offline_iterations)) < config.iterations
    if facts.format == "MultiTurn" and online and takes_offline(config.scoring.pairing):
        raise InvalidInput(
            "MultiTurnCandidate",
            "spec.scoring.pairing.offline: found Include, but the data's own responses have several turns (format "
            "MultiTurn), which scorers do not take beside the policy's single turn; allowed is Exclude: the data's pairs "
            "are trained on by training.offlineShare, or in iterations whose pairs are Offline",
        )


def _check_sizes(config: PhaseConfig, facts: DataFacts) -> None:
    smallest = min(facts.portions, default=0)
    left_out = (
        f" ({facts.overlap} more have prompts of the held-out rows or of suites and are left out)"
        if facts.overlap
        else ""
    )
    if facts.left_out:
        left_out += f" (spec.data.selection.keep leaves out {facts.left_out})"
    if smallest == 0:
        raise InvalidInput(
            "TooFewRows",
            f"spec.data.portions: found {config.data.portions}, but the split has {sum(facts.portions)} rows for "
            f"training{left_out}; allowed is at most one portion a row",
        )
    online = len(set(config.offline_iterations)) < config.iterations
    for field, shards in (
        ("spec.generation.shards", config.generation.shards),
        ("spec.scoring.shards", config.scoring.shards),
    ):
        if online and shards > smallest:
            raise InvalidInput(
                "TooManyShards",
                f"{field}: found {shards}, allowed is at most {smallest}, the prompts of the smallest portion",
            )
    if smallest < config.training.batch_size:
        raise InvalidInput(
            "TooFewPairs",
            f"spec.training.batchSize: found {config.training.batch_size}, allowed is at most {smallest}, the rows of the "
            f"smallest portion{left_out}: an iteration needs one whole batch of pairs",
        )
