"""The pairs of an iteration as a dataset that one can read: messages and texts in place of token ids.

Parquet that `datasets.load_dataset("parquet", ...)` and pandas read, in the conversational form of preference data that
trainers take (`prompt`, `chosen` and `rejected` as lists of messages).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.tables import MESSAGE

BATCH_ROWS = 1024

PUBLISHED = pa.schema(
    [
        pa.field("iteration", pa.int32(), False),
        pa.field("row", pa.int64(), False),  # the prompt's number in the data
        pa.field("prompt", pa.list_(MESSAGE), False),
        pa.field("chosen", pa.list_(MESSAGE), False),  # what follows the prompt; several turns only of the data's own
        pa.field("rejected", pa.list_(MESSAGE), False),
        pa.field(
            "explored", pa.string()
        ),  # the response that the exploring term acts on; null for the data's own pairs
        pa.field("chosen_source", pa.string(), False),  # Current:<sample>, Reference:<sample>, offline:chosen, ...
        pa.field("rejected_source", pa.string(), False),
        pa.field("chosen_score", pa.float64()),  # null for the data's own pairs, which nobody scored
        pa.field("rejected_score", pa.float64()),
        pa.field(
            "candidates",
            pa.list_(
                pa.struct(
                    [
                        pa.field("source", pa.string(), False),
                        pa.field("text", pa.string(), False),
                        pa.field("score", pa.float64()),
                        pa.field("finish_reason", pa.string()),
                    ]
                )
            ),
            False,
        ),
    ]
)
"""One row a pair. Written by `selm dataset`, read by people and by other trainers."""


def scored_rows(
    iteration: int, prompts: Mapping[int, Sequence[Mapping[str, str]]], pairs: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows of PUBLISHED from pairs as PAIRS says; `prompts` are the conversations by row. The texts are the candidates'."""
    for pair in pairs:
        texts = {candidate["source"]: candidate["text"] for candidate in pair["candidates"]}
        yield {
            "iteration": iteration,
            "row": pair["row"],
            "prompt": list(prompts[pair["row"]]),
            **{side: [_answer(texts[pair[f"{side}_source"]])] for side in ("chosen", "rejected")},
            "explored": texts[pair["explored_source"]],
            **{
                f"{side}_{what}": pair[f"{side}_{what}"]
                for side in ("chosen", "rejected")
                for what in ("source", "score")
            },
            "candidates": [
                {name: candidate[name] for name in ("source", "text", "score", "finish_reason")}
                for candidate in pair["candidates"]
            ],
        }


def offline_rows(iteration: int, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of PUBLISHED from the data's own pairs (rows as PROMPTS says): what an offline iteration trains on."""
    for row in rows:
        yield {
            "iteration": iteration,
            "row": row["row"],
            "prompt": list(row["prompt"]),
            **{side: [*(row.get(f"{side}_turns") or ()), _answer(row[side])] for side in ("chosen", "rejected")},
            "explored": None,
            "chosen_source": "offline:chosen",
            "rejected_source": "offline:rejected",
            "chosen_score": None,
            "rejected_score": None,
            "candidates": [],
        }


def write_published(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows in bounded memory, the file whole or not at all; returns how many."""
    count = 0
    remaining = iter(rows)
    part = path.with_name(f".{path.name}.part")
    try:
        with pq.ParquetWriter(part, PUBLISHED) as writer:
            while batch := list(islice(remaining, BATCH_ROWS)):
                writer.write_table(pa.Table.from_pylist(batch, schema=PUBLISHED))
                count += len(batch)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
