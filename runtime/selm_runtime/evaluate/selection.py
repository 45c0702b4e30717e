"""Which iteration is the best: a pure function over what each iteration's Evaluation found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from selm_runtime.contract import SelectByConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.evaluate.statistics import log_odds


@dataclass(frozen=True)
class Standing:
    """One iteration's figures by the scorer that selects; iteration 0 is the base, with both win rates 0.5."""

    iteration: int
    prompts: int
    mean_reward: float
    win_rate_base: float = 0.5
    win_rate_previous: float = 0.5
    preference_accuracy: float | None = None
    suite: float | None = None
    """The figure of the suite that selects; None where none does."""

    def as_facts(self) -> dict[str, Any]:
        """For a manifest, and back by `Standing(**facts)`; the suite's only where there is one."""
        return {name: value for name, value in asdict(self).items() if name != "suite" or value is not None}


def best_iteration(standings: Sequence[Standing], select_by: SelectByConfig) -> int:
    """The iteration with the highest figure, or 0 where none is strictly above the base's; the earliest of equals.

    - `WinRate` against `Base`: the win rate against the base's responses; the base has 0.5.
    - `WinRate` against `Previous`: the running sum of the log-odds of each iteration's win rate against the one
      before it (a chain of comparisons, as in a Bradley–Terry model); the base has 0.
    - `MeanReward`: the held-out mean reward.
    - `PreferenceAccuracy`: the held-out preference accuracy. Raises InvalidInput where it is absent.
    - `LMEval`, `AlpacaEval`, `MTBench`: the suite's metric.

    `standings` holds iterations 0, 1, …, t in order; raises ValueError where one is missing.
    """
    if [standing.iteration for standing in standings] != list(range(len(standings))) or not standings:
        raise ValueError(f"iterations {[s.iteration for s in standings]}; 0, 1, … without a gap are needed")
    figures = _figures(standings, select_by)
    best = max(figures)
    return 0 if best <= figures[0] else figures.index(best)


def _figures(standings: Sequence[Standing], select_by: SelectByConfig) -> list[float]:
    match select_by.metric:
        case "MeanReward":
            return [standing.mean_reward for standing in standings]
        case "PreferenceAccuracy":
            return [_accuracy(standing) for standing in standings]
        case "LMEval" | "AlpacaEval" | "MTBench":
            return [_suite(standing) for standing in standings]
        case "WinRate" if select_by.against == "Previous":
            figures = [0.0]
            for standing in standings[1:]:
                figures.append(figures[-1] + log_odds(standing.win_rate_previous, standing.prompts))
            return figures
        case "WinRate":
            return [0.5, *(standing.win_rate_base for standing in standings[1:])]


def _suite(standing: Standing) -> float:
    if standing.suite is None:
        raise ValueError(f"iteration {standing.iteration} has no figure of the suite that selects")
    return standing.suite


def _accuracy(standing: Standing) -> float:
    if standing.preference_accuracy is None:
        raise InvalidInput(
            "NoPreferenceAccuracy",
            "spec.evaluation.selectBy.metric: found PreferenceAccuracy, but the held-out rows have no offline pairs; "
            "WinRate or MeanReward is allowed",
        )
    return standing.preference_accuracy
