"""Evaluation of the base and of each iteration on the held-out prompts; the best iteration; retention.

One response a held-out prompt at the unscheduled sampling settings, with the same seeds in every iteration, is scored
by every scorer and kept, so that later win rates need no older model. Then the policy's and the base's log-probs give
preference accuracy, the divergence from the start and the explored log-ratio. See `measures` for the definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selm_runtime.phase import PhaseContext


def run(ctx: PhaseContext) -> None:
    """Evaluates the iteration's policy (the base in iteration 0), applies retention and commits.

    Raises InvalidInput for what model, data or scorers cannot do, TemporaryFailure when asked to go.
    """
    # Imported here, so that the package's pure parts need none of the runtime's heavy libraries.
    from selm_runtime.evaluate.phase import evaluate

    evaluate(ctx)
