"""One response a held-out prompt, by the policy under evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from selm_runtime.data.tokens import Tokenizer
from selm_runtime.evaluate.engine import Room
from selm_runtime.generate.encode import decode, encode_rows
from selm_runtime.generate.loop import RequestEngine, generate_chunks
from selm_runtime.generate.requests import plan_held_out
from selm_runtime.generate.responses import responses_table
from selm_runtime.generate.seeds import HELD_OUT
from selm_runtime.phase import PhaseContext


def held_out_room(ctx: PhaseContext) -> Room:
    """What the held-out responses need of an engine: as much as Generation's."""
    return Room(ctx.config.training.max_prompt_length, ctx.config.generation.max_tokens)


def generate_held_out(
    ctx: PhaseContext, engine: RequestEngine, tokenizer: Tokenizer, rows: Sequence[Mapping[str, Any]]
) -> pa.Table:
    """A RESPONSES table in the rows' order: one engine call, so that the same policy always gives the same table."""
    plan = plan_held_out(encode_rows(tokenizer, rows, ctx.config), ctx.config.seed, HELD_OUT)
    (done,) = generate_chunks(engine, [plan], ctx.reporter, ctx.stop, reproducible=True)
    return responses_table(done, decode(tokenizer, done))
