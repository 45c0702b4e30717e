"""Scoring: each prompt's candidates get scores, and a pairing rule makes pairs of them, by Generation's chunks.

Scorers are of two kinds (`interface`): scalar ones (reward models, rules, tests that are run, grading judges) give each
response a number, pairwise rankers (PairRM, comparing judges) say which of two responses is better. `combine` makes one
score of several, `pairing` a pair of scored candidates. A new scorer is a class with one of the two protocols and a
branch in `scorers.build_scorer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selm_runtime.phase import PhaseContext


def run(ctx: PhaseContext) -> None:
    """Scores and commits this shard's chunks; composes the phase if they were the last.

    Raises InvalidInput for a scorer that cannot be, TemporaryFailure when asked to go.
    """
    # Imported here, so that the package's pure parts need none of the runtime's heavy libraries.
    from selm_runtime.score.shard import run_shard

    run_shard(ctx)
