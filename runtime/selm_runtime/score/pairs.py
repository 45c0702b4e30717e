"""From scored candidates to the PAIRS table, and what is counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from selm_runtime.artifacts.manifest import ChunkManifest
from selm_runtime.contract import PairingConfig
from selm_runtime.score.candidates import PromptCandidates
from selm_runtime.score.pairing import Candidate, Choice, NoPair, best_worst, explored_first
from selm_runtime.tables import PAIRS


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt, its scored candidates, and what the pairing rule made of them."""

    prompt: PromptCandidates
    candidates: tuple[Candidate, ...]
    choice: Choice


def pair_prompts(
    prompts: Sequence[PromptCandidates], scores: Sequence[float], pairing: PairingConfig
) -> list[ScoredPrompt]:
    """Applies the pairing rule prompt by prompt; `scores` are those of all candidates, one prompt after the other."""
    paired: list[ScoredPrompt] = []
    start = 0
    for prompt in prompts:
        end = start + len(prompt.sources)
        candidates = prompt.scored(scores[start:end])
        match pairing.rule:
            case "BestWorst":
                choice = best_worst(candidates, pairing.min_margin)
        paired.append(ScoredPrompt(prompt, tuple(candidates), choice))
        start = end
    if start != len(scores):
        raise ValueError(f"{len(scores)} scores for {start} candidates")
    return paired


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
        reward += sum(candidate.score for candidate in generated)
        counts["identicalCandidates"] += choice.identical
        counts["emptyCandidates"] += sum(not candidate.text.strip() for candidate in scored.candidates)
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
    metrics = {
        "pairs": sums["pairs"],
        "dropped": sums["prompts"] - sums["pairs"],
        "tied": sums[f"dropped.{NoPair.TIED}"],
        "meanReward": sums["generatedReward"] / sums["generated"],
    }
    if sums["pairs"]:
        metrics |= {
            "generatedChosenRate": sums["generatedChosen"] / sums["pairs"],
            "generatedRejectedRate": sums["generatedRejected"] / sums["pairs"],
            "meanMargin": sums["margin"] / sums["pairs"],
        }
    return metrics, {}
