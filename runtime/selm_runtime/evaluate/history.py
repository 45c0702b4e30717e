"""What earlier evaluations of the run left: the scores and log-probs that comparisons need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from selm_runtime.contract import Phase
from selm_runtime.evaluate.measures import HeldOutLogProbs
from selm_runtime.evaluate.selection import Standing
from selm_runtime.phase import PhaseContext
from selm_runtime.score.scorers import COMBINED

RESPONSES_FILE = "responses.parquet"
REWARDS_FILE = "rewards.parquet"
LOG_PROBS_FILE = "log-probs.parquet"

Rewards = Mapping[str, list[float | None]]
"""Held-out scores by scorer's name (and `combined`), in the held-out rows' order; None where a scorer could not say."""


@dataclass(frozen=True)
class Past:
    """Empty when the base itself is evaluated."""

    standings: tuple[Standing, ...] = ()  # of iterations 0 … t − 1
    base_rewards: Rewards | None = None
    previous_rewards: Rewards | None = None
    base_log_probs: Mapping[int, HeldOutLogProbs] | None = None
    base_tokens: tuple[int, ...] | None = None
    """Lengths of the base's responses, in the held-out rows' order."""

    def base_scores(self, scorer: str) -> list[float | None] | None:
        """The base's scores by one scorer."""
        return None if self.base_rewards is None else self.base_rewards[scorer]


def read_history(ctx: PhaseContext) -> Past:
    """Of all iterations before the config's. Raises InvalidInput where one of them has no committed Evaluation."""
    if ctx.config.iteration == 0:
        return Past()
    manifests = [ctx.folder.manifest(Phase.EVALUATION, t) for t in range(ctx.config.iteration)]
    rewards = [_rewards(ctx.folder.read_table(manifest, REWARDS_FILE)) for manifest in (manifests[0], manifests[-1])]
    base = ctx.folder.read_table(manifests[0], RESPONSES_FILE)
    log_probs = ctx.folder.read_table(manifests[0], LOG_PROBS_FILE).to_pylist()
    return Past(
        standings=tuple(Standing(**manifest.facts["standing"]) for manifest in manifests),
        base_rewards=rewards[0],
        previous_rewards=rewards[1],
        base_log_probs={held["row"]: HeldOutLogProbs(**held) for held in log_probs},
        base_tokens=tuple(len(ids) for ids in base["response_ids"].to_pylist()),
    )


def _rewards(table: pa.Table) -> Rewards:
    rewards: dict[str, list[float | None]] = {COMBINED: table["combined"].to_pylist()}
    for scores in table["scores"].to_pylist():
        for name, score in scores:
            rewards.setdefault(name, []).append(score)
    return rewards
