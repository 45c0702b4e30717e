"""One response a held-out prompt, by the policy under evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from selm_runtime.data.tokens import Tokenizer
from selm_runtime.generate.encode import decode, encode_rows
from selm_runtime.generate.loop import generate_chunks
from selm_runtime.generate.requests import plan_held_out
from selm_runtime.generate.responses import responses_table
from selm_runtime.generate.seeds import HELD_OUT
from selm_runtime.generate.shard import start_engine
from selm_runtime.phase import PhaseContext


def generate_held_out(
    ctx: PhaseContext, model: Path, tokenizer: Tokenizer, rows: Sequence[Mapping[str, Any]]
) -> pa.Table:
    """A RESPONSES table in the rows' order: one engine call, so that the same policy always gives the same table."""
    plan = plan_held_out(encode_rows(tokenizer, rows, ctx.config), ctx.config.seed, HELD_OUT)
    engine = start_engine(ctx, model, tokenizer.eos_token_id)
    try:
        (done,) = generate_chunks(engine, [plan], ctx.reporter, ctx.stop, reproducible=True)
        return responses_table(done, decode(tokenizer, done))
    finally:
        engine.close()
