"""Every row, tried as later phases use it: what one row is refused for is known before a GPU is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selm_runtime.contract import DataConfig, RuleConfig, ScoringConfig
from selm_runtime.data.goals import asked_prompt, score_of
from selm_runtime.data.rows import read_rows
from selm_runtime.data.templates import Render, template_refused
from selm_runtime.errors import InvalidInput
from selm_runtime.phase import PhaseContext
from selm_runtime.prepare.data import SplitRows, place_of
from selm_runtime.score.interface import Scorable
from selm_runtime.score.rules import check_rule_values

RowCheck = Callable[[Mapping[str, Any]], None]
"""Raises InvalidInput for a row, as PROMPTS says, that a later phase could not use; names it by its number."""

SAMPLE_RESPONSE = "Hello"
"""Stands for the policy's where a row has no response of its own."""
_BETWEEN = 1000


class Rows:
    """The rows that the checks go over, training's and held out, and where each stands in the data."""

    def __init__(self, ctx: PhaseContext, paths: Sequence[Path], splits: Sequence[SplitRows]) -> None:
        """`paths` are files of PROMPTS; `splits` those that they were made of."""
        self.paths = paths
        self._ctx, self._splits = ctx, splits

    def first(self) -> Mapping[str, Any]:
        """The first row for training. Raises InvalidInput where there is none."""
        row = next(read_rows(self.paths), None)
        if row is None:
            raise InvalidInput("TooFewRows", "spec.data: no row to try with")
        return row

    def check(self, checks: Iterable[RowCheck], paths: Sequence[Path] | None = None) -> None:
        """Each check on each row, or on those in `paths`. Raises InvalidInput naming the first that fails, and its file."""
        wanted = list(checks)
        for number, row in enumerate(read_rows(self.paths if paths is None else paths) if wanted else ()):
            if number % _BETWEEN == _BETWEEN - 1:
                self._ctx.stop.check()
            try:
                for check in wanted:
                    check(row)
            except InvalidInput as error:
                place = place_of(self._splits, row["row"])
                raise InvalidInput(error.reason, f"{error.message}; row {row['row']} is {place}") from error


def asked_by(render: Render, data: DataConfig, field: str) -> RowCheck:
    """Whether the policy's template makes a prompt of the row, as generation and evaluation ask it."""

    def check(row: Mapping[str, Any]) -> None:
        _try(render, list(asked_prompt(data, row["prompt"])), field, row, generation=True)

    return check


def answered_by(render: Render, field: str) -> RowCheck:
    """Whether a reward model's template takes the row's conversation with a response."""

    def check(row: Mapping[str, Any]) -> None:
        response = {"role": "assistant", "content": row["chosen"] or SAMPLE_RESPONSE}
        _try(render, [*row["prompt"], response], field, row, generation=False)

    return check


def scored_by(columns: Mapping[str, str]) -> list[RowCheck]:
    """Whether a row for training has the numbers by which its own pair is reward-augmented (`score_columns`)."""

    def check(row: Mapping[str, Any]) -> None:
        there = dict(row["columns"])
        for field, name in columns.items():
            score = score_of(there, name)
            if score is None or not math.isfinite(score):
                raise InvalidInput(
                    "NoScores",
                    f"{field}: row {row['row']} has {there.get(name)!r:.60} in column {name!r}; a number is allowed",
                )

    return [check] if columns else []


def ruled_by(scoring: ScoringConfig) -> list[RowCheck]:
    """Whether rules can read what a row has in their columns."""

    def checking(rules: Sequence[RuleConfig], field: str) -> RowCheck:
        def check(row: Mapping[str, Any]) -> None:
            check_rule_values(rules, scorable_of(row), field)

        return check

    return [
        checking(scorer.rules, f"spec.scoring.scorers[{i}].rules")
        for i, scorer in enumerate(scoring.scorers)
        if scorer.rules is not None and any(rule.column is not None for rule in scorer.rules)
    ]


def scorable_of(row: Mapping[str, Any]) -> Scorable:
    """A row as scorers see it before there is a response."""
    return Scorable(row["row"], row["prompt"], "", "stop", dict(row["columns"]))


def _try(
    render: Render, messages: Sequence[Mapping[str, str]], field: str, row: Mapping[str, Any], *, generation: bool
) -> None:
    try:
        render(messages, generation)
    except Exception as error:  # the template is a program of the model's: whatever it raises is told
        raise template_refused(field, f"row {row['row']}", messages, error) from error
