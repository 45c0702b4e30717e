"""Preparation: what can be refused is refused here, what can change is pinned, what is elsewhere is brought in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selm_runtime.phase import PhaseContext


def run(ctx: PhaseContext) -> None:
    """Checks data, model and scorers and commits them, pinned.

    Raises InvalidInput for everything that no later attempt could mend, TemporaryFailure when asked to go.
    """
    # Imported here, so that the package's pure parts need none of the runtime's heavy libraries.
    from selm_runtime.prepare.phase import prepare

    prepare(ctx)
