"""Generated responses as a table, and what is counted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from selm_runtime.artifacts.manifest import ChunkManifest
from selm_runtime.engine import Completion
from selm_runtime.generate.requests import ChunkPlan
from selm_runtime.tables import RESPONSES


@dataclass(frozen=True)
class ChunkResponses:
    """A whole chunk: a completion for each planned response, in the plan's order."""

    plan: ChunkPlan
    completions: tuple[Completion, ...]


def responses_table(responses: ChunkResponses, texts: Sequence[str]) -> pa.Table:
    """The chunk as a table of the schema RESPONSES; `texts` are the decoded responses in the same order."""
    columns: dict[str, list[Any]] = {name: [] for name in RESPONSES.names}
    for planned, completion, text in zip(responses.plan.responses, responses.completions, texts, strict=True):
        columns["row"].append(planned.prompt.row)
        columns["policy"].append(planned.policy)
        columns["sample"].append(planned.sample)
        columns["prompt_ids"].append(planned.prompt.ids)
        columns["response_ids"].append(completion.ids)
        columns["text"].append(text)
        columns["finish_reason"].append(completion.finish_reason)
    return pa.table(columns, schema=RESPONSES)


def count_responses(responses: ChunkResponses, texts: Sequence[str], policies: Sequence[str]) -> dict[str, float]:
    """What is summed over chunks. `finished` ended by themselves, the others were cut at `maxTokens`; `empty` have no text
    but space; `truncatedPrompts` were longer than `maxPromptLength`: counted
    with the first of the iteration's `policies` alone, whose prompts the others answer, too.
    """
    completions = responses.completions
    return {
        "prompts": responses.plan.prompts,
        "responses": len(completions),
        "truncatedPrompts": len(
            {
                planned.prompt.row
                for planned in responses.plan.responses
                if planned.prompt.cut and planned.policy == policies[0]
            }
        ),
        "promptTokens": sum(len(planned.prompt.ids) for planned in responses.plan.responses),
        "tokens": sum(len(completion.ids) for completion in completions),
        "finished": sum(completion.finish_reason == "stop" for completion in completions),
        "empty": sum(not text.strip() for text in texts),
    }


def summarise(chunks: Sequence[ChunkManifest]) -> tuple[dict[str, float], Mapping[str, Any]]:
    """The phase's metrics from its chunks': `meanLength` in tokens, the stop token included."""
    names = ("responses", "tokens", "finished", "empty", "truncatedPrompts")
    sums = {name: sum(chunk.metrics.get(name, 0.0) for chunk in chunks) for name in names}
    responses = sums["responses"]
    return {
        "responses": responses,
        "tokens": sums["tokens"],
        "meanLength": sums["tokens"] / responses,
        "finishedRate": sums["finished"] / responses,
        "emptyRate": sums["empty"] / responses,
        "truncatedPrompts": sums["truncatedPrompts"],
    }, {}
