"""Generation: the policy's responses to the iteration's prompts, by chunks, on a vLLM engine.

Shard i of N does the chunks c ≡ i (mod N) that are not committed yet; whichever shard then sees all chunks composes
the phase. With `reproducible: true` a chunk is one engine call over its own requests, begun with a cold prefix cache,
so that a kill, another shard count or another attempt changes no token. With `false` the engine is fed ahead of
what it has finished and never drains; chunks are committed as they become whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selm_runtime.phase import PhaseContext


def run(ctx: PhaseContext) -> None:
    """Generates and commits this shard's chunks; composes the phase if they were the last.

    Raises InvalidInput for what the model or the engine cannot do, TemporaryFailure when asked to go.
    """
    # Imported here, so that the package's pure parts need none of the runtime's heavy libraries.
    from selm_runtime.generate.shard import run_shard

    run_shard(ctx)
