"""All that the policy under evaluation writes, by one engine, before anything of it is scored or judged.

So nothing else needs the device's memory meanwhile, and no engine waits for a judge. The held-out responses are a chunk of
the phase and so are the answers to each suite: an attempt that ends while they are judged costs no second engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selm_runtime.artifacts.manifest import ChunkManifest
from selm_runtime.data.tokens import Tokenizer
from selm_runtime.engine import check_context
from selm_runtime.evaluate.engine import SharedEngine
from selm_runtime.evaluate.held_out import generate_held_out, held_out_room
from selm_runtime.evaluate.history import RESPONSES_FILE
from selm_runtime.evaluate.suites.responses import Answer, Asking, answer_suite
from selm_runtime.generate.shard import engine_settings
from selm_runtime.phase import PhaseContext

ANSWERS_FILE = "answers.json"
"""Of a suite's chunk: by question, what the policy said in each turn."""

Answers = dict[str, list[list[Answer]]]
"""By suite (`Asking.name`): each question's answers, turn by turn."""


def generate(
    ctx: PhaseContext, model: Path, tokenizer: Tokenizer, rows: Sequence[Mapping[str, Any]], suites: Sequence[Asking]
) -> tuple[pa.Table, Answers]:
    """The held-out responses (a RESPONSES table in the rows' order) and the suites' answers. The engine is gone after it.

    The table is left as `RESPONSES_FILE` in the scratch folder, too: byte for byte what was committed. What was committed
    from the same input is not made again. Raises InvalidInput where the model's context is too short, TemporaryFailure once
    the pod was asked to go.
    """
    check_context(engine_settings(ctx, model))
    kept = ctx.folder.chunks()
    rooms = [held_out_room(ctx), *(suite.room for suite in suites)]
    answers: Answers = {}
    with closing(SharedEngine(ctx, model, tokenizer.eos_token_id, rooms)) as engine:
        path = ctx.scratch / RESPONSES_FILE
        if 0 in kept:
            ctx.folder.fetch(kept[0], RESPONSES_FILE, ctx.scratch)
            responses = pq.read_table(path)
        else:
            responses = generate_held_out(ctx, engine.of(rooms[0]), tokenizer, rows)
            pq.write_table(responses, path)
            ctx.folder.commit_chunk(0, {RESPONSES_FILE: path}, rows=len(responses))
        for chunk, suite in enumerate(suites, 1):
            if chunk in kept:
                answers[suite.name] = _read(ctx, kept[chunk])
            else:
                started = engine.of(suite.room)
                with ctx.reporter.stage("answers", suite=suite.name):
                    answers[suite.name] = answer_suite(ctx, started, model, tokenizer, suite)
                _commit(ctx, chunk, answers[suite.name])
    return responses, answers


def _commit(ctx: PhaseContext, chunk: int, answers: Sequence[Sequence[Answer]]) -> None:
    path = ctx.scratch / f"{chunk}-{ANSWERS_FILE}"
    records = [[asdict(answer) for answer in turns] for turns in answers]
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    ctx.folder.commit_chunk(chunk, {ANSWERS_FILE: path}, rows=len(answers))


def _read(ctx: PhaseContext, kept: ChunkManifest) -> list[list[Answer]]:
    folder = ctx.folder.fetch(kept, ANSWERS_FILE, ctx.scratch / f"kept-{kept.chunk}")
    records = json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    return [[Answer(**answer) for answer in turns] for turns in records]
