"""Where an iteration's pairs come from: Scoring's chunks (`pairs: Online`) or the data's own pairs (`Offline`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.contract import Phase, PhaseConfig
from selm_runtime.data.rows import portion_rows
from selm_runtime.data.tokens import encode_prompt, encode_response, load_tokenizer, truncate
from selm_runtime.errors import InvalidInput
from selm_runtime.train.pairs import Pair, Tokens, write_pairs

PAIRS_FILE = "pairs.parquet"


@dataclass(frozen=True)
class PairCounts:
    """How many pairs an iteration has, and how many of them lost tokens to `maxPromptLength` or `maxLength`."""

    pairs: int
    truncated: int


def bring_pairs(folder: PhaseFolder, model: Path, into: Path) -> PairCounts:
    """Write the iteration's pairs to a file as token ids, truncated; `model` has the policy's tokenizer.

    Raises InvalidInput where the data has no pairs, or fewer than one optimizer step takes.
    """
    config = folder.config
    truncated = 0

    def cut(pairs: Iterator[Pair]) -> Iterator[Pair]:
        nonlocal truncated
        for pair in pairs:
            short = _truncate(pair, config)
            truncated += short != pair
            yield short

    raw = _online(folder) if config.training.pairs == "Online" else _offline(folder, model)
    pairs = write_pairs(cut(raw), into)
    _require_a_batch(pairs, config)
    return PairCounts(pairs, truncated)


def _online(folder: PhaseFolder) -> Iterator[Pair]:
    """What Scoring paired, chunk by chunk."""
    manifest = folder.manifest(Phase.SCORING, folder.config.iteration)
    names = sorted(entry.name for entry in manifest.files if entry.name.endswith(f"/{PAIRS_FILE}"))
    for name in names:
        for record in folder.read_table(manifest, name).to_pylist():
            yield Pair(
                row=record["row"],
                prompt=tuple(record["prompt_ids"]),
                chosen=tuple(record["chosen_ids"]),
                rejected=tuple(record["rejected_ids"]),
                explored=tuple(record["explored_ids"]),
            )


def _offline(folder: PhaseFolder, model: Path) -> Iterator[Pair]:
    """The portion's own pairs, tokenised as generation and scoring tokenise; nothing is explored."""
    tokenizer = load_tokenizer(model, trust_remote_code=folder.config.model.trust_remote_code)
    for row in portion_rows(folder):
        if row["chosen"] is None or row["rejected"] is None:
            raise InvalidInput(
                "NoOfflinePairs",
                f"spec.schedule[iteration={folder.config.iteration}].pairs: found Offline, but row {row['row']} of the "
                "data has no chosen and rejected response; allowed is Online, or data with pairs",
            )
        yield Pair(
            row=row["row"],
            prompt=tuple(encode_prompt(tokenizer, row["prompt"])),
            chosen=tuple(encode_response(tokenizer, row["chosen"])),
            rejected=tuple(encode_response(tokenizer, row["rejected"])),
        )


def _truncate(pair: Pair, config: PhaseConfig) -> Pair:
    responses: list[Tokens] = [pair.chosen, pair.rejected]
    if pair.explored is not None:
        responses.append(pair.explored)
    prompt, cut = truncate(pair.prompt, responses, config.training)
    chosen, rejected, *explored = (tuple(response) for response in cut)
    return Pair(pair.row, tuple(prompt), chosen, rejected, explored[0] if explored else None)


def _require_a_batch(pairs: int, config: PhaseConfig) -> None:
    batch = config.training.batch_size
    if pairs < batch:
        source = "Scoring left" if config.training.pairs == "Online" else "the data's portion has"
        raise InvalidInput(
            "TooFewPairs",
            f"spec.training.batchSize: {batch} pairs make an optimizer step, but {source} {pairs} in iteration "
            f"{config.iteration}; allowed is at most {pairs}, or fewer portions, more samples a prompt or a lower "
            "minMargin for more pairs",
        )
