"""From scored candidates to the PAIRS table, and what is counted on the way."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from selm_runtime.artifacts.manifest import ChunkManifest
from selm_runtime.contract import PairingConfig
from selm_runtime.score.candidates import PromptCandidates
from selm_runtime.score.pairing import Candidate, Choice, Draw, NoPair, choose, explored_first
from selm_runtime.tables import PAIRS


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt, its scored candidates, and what the pairing rule made of them."""

    prompt: PromptCandidates
    candidates: tuple[Candidate, ...]
    choice: Choice


def pair_prompts(
    prompts: Sequence[PromptCandidates],
    scores: Sequence[Sequence[float | None]],
    pairing: PairingConfig,
    draws: Callable[[int], Draw],
) -> list[ScoredPrompt]:
    """Applies the pairing rule prompt by prompt; `scores` are each prompt's, `draws` gives a row its chance."""
    paired: list[ScoredPrompt] = []
    for prompt, its_scores in zip(prompts, scores, strict=True):
        candidates = prompt.scored(its_scores)
        paired.append(ScoredPrompt(prompt, tuple(candidates), choose(candidates, pairing, draws(prompt.row))))
    return paired


def seeded_draws(seed: int, iteration: int) -> Callable[[int], Draw]:
    """The chance of each row: the same in every attempt and shard, another one in every iteration."""

    def of_row(row: int) -> Draw:
        digest = hashlib.sha256(f"pairing {seed} {iteration} {row}".encode()).digest()
        return lambda n: int.from_bytes(digest[:8], "big") % n

    return of_row


def pairs_table(paired: Sequence[ScoredPrompt]) -> pa.Table:
    """The prompts that have a pair, as a table of the schema PAIRS."""
    columns: dict[str, list[Any]] = {name: [] for name in PAIRS.names}
    for scored in paired:
        chosen, rejected = scored.choice.chosen, scored.choice.rejected
        if chosen is None or rejected is None:
            continue
        explored = explored_first(scored.candidates)
        columns["row"].append(scored.prompt.row)
        columns["prompt_ids"].append(scored.prompt.prompt_ids)
        for role, candidate in (("chosen", chosen), ("rejected", rejected), ("explored", explored)):
            columns[f"{role}_ids"].append(candidate.ids)
            columns[f"{role}_source"].append(candidate.source)
        columns["chosen_score"].append(chosen.score)
        columns["rejected_score"].append(rejected.score)
        columns["candidates"].append(
            [
                {name: getattr(c, name) for name in ("source", "ids", "text", "finish_reason", "score")}
                for c in scored.candidates
            ]
        )
    return pa.table(columns, schema=PAIRS)


def count_pairs(paired: Sequence[ScoredPrompt]) -> dict[str, float]:
    """What is summed over chunks; prompts without a pair by their reason."""
    counts: Counter[str] = Counter({f"dropped.{reason}": 0 for reason in NoPair})
    reward = margin = 0.0
    for scored in paired:
        choice = scored.choice
        generated = [candidate for candidate in scored.candidates if candidate.generated]
        counts["generated"] += len(generated)
        known = [candidate.score for candidate in generated if candidate.score is not None]
        counts["generatedScored"] += len(known)
        reward += sum(known)
        counts["candidates"] += len(scored.candidates)
        counts["identicalCandidates"] += choice.identical
        counts["emptyCandidates"] += sum(candidate.empty for candidate in scored.candidates)
        counts["truncatedCandidates"] += sum(candidate.truncated for candidate in scored.candidates)
        counts["unscoredCandidates"] += sum(candidate.score is None for candidate in scored.candidates)
        if choice.no_pair is not None:
            counts[f"dropped.{choice.no_pair}"] += 1
        elif choice.chosen is not None and choice.rejected is not None:
            counts["pairs"] += 1
            counts["generatedChosen"] += choice.chosen.generated
            counts["generatedRejected"] += choice.rejected.generated
            counts["tiedBest"] += choice.tied_best
            counts["tiedWorst"] += choice.tied_worst
            margin += choice.margin
    return {**counts, "prompts": len(paired), "generatedReward": reward, "margin": margin}


def summarise(chunks: Sequence[ChunkManifest]) -> tuple[dict[str, float], Mapping[str, Any]]:
    """The phase's metrics from its chunks'; rates of pairs are absent where there is no pair."""
    sums: Counter[str] = Counter()
    for chunk in chunks:
        sums.update(chunk.metrics)
    metrics: dict[str, float] = {
        "pairs": sums["pairs"],
        "dropped": sums["prompts"] - sums["pairs"],
        "tied": sums[f"dropped.{NoPair.TIED}"],
    }
    if sums["unscoredCandidates"]:
        metrics["unscoredRate"] = sums["unscoredCandidates"] / sums["candidates"]
    if sums["generatedScored"]:
        metrics["meanReward"] = sums["generatedReward"] / sums["generatedScored"]
    if sums["pairs"]:
        metrics |= {
            "generatedChosenRate": sums["generatedChosen"] / sums["pairs"],
            "generatedRejectedRate": sums["generatedRejected"] / sums["pairs"],
            "meanMargin": sums["margin"] / sums["pairs"],
        }
    return metrics, {}
