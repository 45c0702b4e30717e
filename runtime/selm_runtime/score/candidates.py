"""A prompt's candidates before they have scores: the policies' responses, then the data's own pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selm_runtime.contract import PairingConfig
from selm_runtime.score.interface import Scorable
from selm_runtime.score.pairing import OFFLINE_CHOSEN, OFFLINE_REJECTED, Candidate

POLICY_ORDER = ("Current", "Reference")

EncodeResponse = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class PromptCandidates:
    """One prompt with its candidates in the declared order, not scored yet."""

    row: int
    prompt_ids: tuple[int, ...]
    sources: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    scorables: tuple[Scorable, ...]

    def scored(self, scores: Sequence[float | None]) -> list[Candidate]:
        """The candidates with their scores, in the same order."""
        return [
            Candidate(source, ids, scorable.text, scorable.finish_reason, score)
            for source, ids, scorable, score in zip(self.sources, self.ids, self.scorables, scores, strict=True)
        ]


def takes_offline(pairing: PairingConfig) -> bool:
    """Whether the data's own pair is among the candidates; TwoPolicy pairs responses of policies alone."""
    return pairing.offline == "Include" and pairing.rule != "TwoPolicy"


def gather(
    row: Mapping[str, Any], responses: Sequence[Mapping[str, Any]], encode_offline: EncodeResponse | None
) -> PromptCandidates:
    """Candidates of one row: `row` as in PROMPTS, `responses` as in RESPONSES (of this row, any order).

    With `encode_offline` (text to token ids) the data's chosen and rejected join them, where the row has both. Raises
    ValueError where there is no response of the row.
    """
    if not responses:
        raise ValueError(f"row {row['row']} has no generated response")
    ordered = sorted(responses, key=lambda r: (POLICY_ORDER.index(r["policy"]), r["sample"]))
    sources = [f"{r['policy']}:{r['sample']}" for r in ordered]
    ids = [tuple(r["response_ids"]) for r in ordered]
    texts: list[tuple[str, str | None]] = [(r["text"], r["finish_reason"]) for r in ordered]
    if encode_offline is not None and row["chosen"] is not None and row["rejected"] is not None:
        sources += [OFFLINE_CHOSEN, OFFLINE_REJECTED]
        ids += [tuple(encode_offline(row[side])) for side in ("chosen", "rejected")]
        texts += [(row[side], None) for side in ("chosen", "rejected")]
    columns = dict(row["columns"])
    return PromptCandidates(
        row=row["row"],
        prompt_ids=tuple(ordered[0]["prompt_ids"]),
        sources=tuple(sources),
        ids=tuple(ids),
        scorables=tuple(
            Scorable(row["row"], row["prompt"], text, finish, columns, len(its))
            for (text, finish), its in zip(texts, ids, strict=True)
        ),
    )
