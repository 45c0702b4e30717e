"""Where a training's pairs come from: Scoring's chunks (`pairs: Online`), the data's own pairs (`Offline`), or both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.reader import go_on
from selm_runtime.contract import Phase, PhaseConfig
from selm_runtime.data.goals import asking_for, score_of
from selm_runtime.data.rows import portion_rows
from selm_runtime.data.templates import Message
from selm_runtime.data.tokens import Tokenizer, encode_prompt, load_tokenizer, truncate
from selm_runtime.data.turns import encode_side
from selm_runtime.errors import InvalidInput
from selm_runtime.train.batches import own_in_batch
from selm_runtime.train.objectives import explored_policy, in_force, needs_of
from selm_runtime.train.pairs import Pair, Tokens, is_own, pair_id, reversed_id, row_of, write_pairs

PAIRS_FILE = "pairs.parquet"


@dataclass(frozen=True)
class PairCounts:
    """How many pairs a training has, how many lost tokens to `maxPromptLength` or `maxLength`, how many were left out.

    `inverted` ones are left out of reward-augmented data: the chosen response's score is not above the rejected's.
    """

    pairs: int
    truncated: int
    inverted: int = 0


def bring_pairs(folder: PhaseFolder, model: Path, into: Path, between: Callable[[], None] = go_on) -> PairCounts:
    """Write the training's pairs to a file as token ids, truncated; `model` has the policy's tokenizer.

    They are the iteration's, those of earlier iterations where the objective asks for them, and the data's own beside
    them for `offlineShare`. `between` is called after each pair, and raises where the pod is to go. Raises InvalidInput
    where the data has no pairs, or fewer than one optimizer step takes.
    """
    config = folder.config
    source = _Source(folder, model)
    truncated = own = 0

    def cut(pairs: Iterable[Pair]) -> Iterator[Pair]:
        nonlocal truncated, own
        for pair in pairs:
            short = _truncate(pair, config)
            truncated += short != pair
            own += is_own(pair.row)
            yield short
            between()

    pairs = write_pairs(cut(source.pairs()), into)
    _require_a_batch(pairs - own, config)
    _require_own(own, source.inverted, config)
    return PairCounts(pairs, truncated, source.inverted)


def explored_responses(record: Mapping[str, Any], config: PhaseConfig) -> tuple[Tokens, ...]:
    """Of a pair in Scoring's table: the first response of the policy that is explored, or all (`explored: Mean`).

    Empty where the objective runs none. Raises InvalidInput where that policy gave no response.
    """
    policy, mean = explored_policy(config), in_force(config).explored == "Mean"
    if policy is None:
        return ()
    if policy == "Current" and not mean:
        return (tuple(record["explored_ids"]),)
    found = [tuple(c["ids"]) for c in record["candidates"] if c["source"].startswith(f"{policy}:")]
    if not found:
        raise InvalidInput(
            "NoExploredResponse",
            f"row {record['row']} has no response of the policy {policy} among its candidates, which "
            f"spec.training.objective.type {config.training.objective.type} explores",
        )
    return tuple(found) if mean else (found[0],)


class _Source:
    """The pairs of one training, from wherever they are."""

    def __init__(self, folder: PhaseFolder, model: Path) -> None:
        self._folder = folder
        self._config = folder.config
        self._model = model
        self._needs = needs_of(folder.config)
        self.inverted = 0

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self._model, trust_remote_code=self._config.model.trust_remote_code)

    def pairs(self) -> Iterator[Pair]:
        """All of them, each once; counts on the way."""
        config = self._config
        now = config.iteration
        yield from self._of(now, self._online if config.training.pairs == "Online" else self._offline)
        for past in range(1, now) if self._needs.past else ():
            yield from self._of(past, self._offline if past in config.offline_iterations else self._online)
        if own_in_batch(config.training):
            yield from self._of(now, self._own)

    def _of(self, iteration: int, pairs: Callable[[int], Iterator[Pair]]) -> Iterator[Pair]:
        if self._config.data.reward_augmented is None:
            yield from pairs(iteration)
            return
        prompts = {row["row"]: row["prompt"] for row in portion_rows(self._folder, iteration)}
        for pair in pairs(iteration):
            if pair.chosen_score is None or pair.rejected_score is None or pair.chosen_score <= pair.rejected_score:
                self.inverted += 1
                continue
            yield from self._augmented(pair, prompts[row_of(pair.row)])

    def _augmented(self, pair: Pair, messages: Sequence[Message]) -> Iterator[Pair]:
        """The pair under a prompt that asks for its chosen score, and reversed under one that asks for the rejected's."""

        def asking(score: float | None) -> Tokens:
            assert score is not None
            return tuple(encode_prompt(self._tokenizer, asking_for(score, messages), f"row {row_of(pair.row)}"))

        yield replace(pair, prompt=asking(pair.chosen_score))
        yield replace(
            pair,
            row=reversed_id(pair.row),
            prompt=asking(pair.rejected_score),
            chosen=pair.rejected,
            rejected=pair.chosen,
            chosen_score=pair.rejected_score,
            rejected_score=pair.chosen_score,
        )

    def _own(self, iteration: int) -> Iterator[Pair]:
        for pair in self._offline(iteration):
            yield replace(pair, row=pair_id(pair.row, own=True))

    def _online(self, iteration: int) -> Iterator[Pair]:
        """What Scoring paired, chunk by chunk."""
        manifest = self._folder.manifest(Phase.SCORING, iteration)
        names = sorted(entry.name for entry in manifest.files if entry.name.endswith(f"/{PAIRS_FILE}"))
        for name in names:
            for record in self._folder.read_table(manifest, name).to_pylist():
                yield Pair(
                    row=self._id(record["row"], iteration),
                    prompt=tuple(record["prompt_ids"]),
                    chosen=tuple(record["chosen_ids"]),
                    rejected=tuple(record["rejected_ids"]),
                    explored=explored_responses(record, self._config),
                    chosen_score=record["chosen_score"],
                    rejected_score=record["rejected_score"],
                    age=self._config.iteration - iteration,
                )

    def _offline(self, iteration: int) -> Iterator[Pair]:
        """The portion's own pairs, tokenised as generation and scoring tokenise; nothing is explored."""
        for row in portion_rows(self._folder, iteration):
            if row["chosen"] is None or row["rejected"] is None:
                raise InvalidInput("NoOfflinePairs", self._no_pair(row["row"], iteration))
            scores = self._scores(row)
            yield Pair(
                row=self._id(row["row"], iteration),
                prompt=tuple(encode_prompt(self._tokenizer, row["prompt"], f"row {row['row']}")),
                chosen=tuple(encode_side(self._tokenizer, row, "chosen")),
                rejected=tuple(encode_side(self._tokenizer, row, "rejected")),
                chosen_score=scores[0],
                rejected_score=scores[1],
                age=self._config.iteration - iteration,
                online=False,
            )

    def _scores(self, row: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """Of the data's own pair, from its columns; none but where the data are reward-augmented."""
        augmented = self._config.data.reward_augmented
        if augmented is None:
            return None, None
        columns = dict(row["columns"])
        scores = score_of(columns, augmented.chosen_score_column), score_of(columns, augmented.rejected_score_column)
        if None in scores:
            raise InvalidInput(
                "NoScores",
                f"spec.data.rewardAugmented: row {row['row']} has no number in {augmented.chosen_score_column} or "
                f"{augmented.rejected_score_column}; allowed are columns with the scores of chosen and rejected",
            )
        return scores

    def _id(self, row: int, iteration: int) -> int:
        return pair_id(row, made_in=0 if iteration == self._config.iteration else iteration)

    def _no_pair(self, row: int, iteration: int) -> str:
        lacks = f"row {row} of the data has no chosen and rejected response"
        if iteration == self._config.iteration and self._config.training.pairs == "Online":
            share = self._config.training.offline_share
            return f"spec.training.offlineShare: found {share:g}, but {lacks}; allowed is 0, or data with pairs"
        return f"spec.schedule[iteration={iteration}].pairs: found Offline, but {lacks}; allowed is Online, or data with pairs"


def _truncate(pair: Pair, config: PhaseConfig) -> Pair:
    prompt, cut = truncate(pair.prompt, [pair.chosen, pair.rejected, *pair.explored], config.training)
    chosen, rejected, *explored = (tuple(response) for response in cut)
    return replace(pair, prompt=tuple(prompt), chosen=chosen, rejected=rejected, explored=tuple(explored))


def _require_a_batch(pairs: int, config: PhaseConfig) -> None:
    batch = config.training.batch_size - own_in_batch(config.training)
    if pairs < batch:
        source = "Scoring left" if config.training.pairs == "Online" else "the data's portion has"
        raise InvalidInput(
            "TooFewPairs",
            f"spec.training.batchSize: {batch} pairs make an optimizer step, but {source} {pairs} in iteration "
            f"{config.iteration}; allowed is at most {pairs}, or fewer portions, more samples a prompt or a lower "
            "minMargin for more pairs",
        )


def _require_own(own: int, inverted: int, config: PhaseConfig) -> None:
    if own_in_batch(config.training) and not own:
        raise InvalidInput(
            "NoOfflinePairs",
            f"spec.training.offlineShare: found {config.training.offline_share:g}, but none of the data's own pairs is left "
            f"in iteration {config.iteration} ({inverted} pairs were left out by spec.data.transform: their chosen response's "
            "score is not above the rejected's); allowed is 0, or data whose scores agree with its pairs",
        )
