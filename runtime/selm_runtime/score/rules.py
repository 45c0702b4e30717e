"""The rule scorer: a reward declared in YAML, a weighted sum of simple rules.

Each rule gives a number in [0, 1]; the score is the sum of rule × weight (weights may be negative and need not add
up to one). A response without any non-space character scores 0 under every rule, so that saying nothing is never the
way to please one. Words are maximal runs of non-space characters.

- **Length**: 1 at exactly `target` words, falling in a straight line to 0 at no words and at twice the target.
  With `column` the target is read from that column of the row.
- **Regex**: 1 where `pattern` matches somewhere in the text (`search`), else 0. With `column`, each `{value}` in the
  pattern is replaced by the row's text in that column, escaped; without a pattern the column's text itself is sought,
  as whole words, in any case of letters.
- **Format**: 1 where the response is well formed: it ended by itself (its finish reason is not `length`) and, where a
  `pattern` is given, the whole text less surrounding space matches it (`fullmatch`). `column` as in Regex.
- **Repetition**: the share of distinct ones among the text's word trigrams (its words, where it has fewer than four),
  letters' case ignored: 1 without any repetition.

Patterns are those of the `regex` module (a superset of Python's `re`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import regex

from selm_runtime.contract import RuleConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score.interface import Scorable

VALUE = "{value}"
"""Stands in a pattern for the row's text in `column`."""
COLUMN_PATTERN = r"(?i)\b{value}\b"
NGRAM = 3
MATCH_SECONDS = 5.0
"""A pattern that takes longer on one response backtracks without end: refused, since no number would be right."""


@dataclass(frozen=True)
class CompiledRule:
    """A rule that passed its checks; `field` is its path in the spec."""

    config: RuleConfig
    field: str
    measure: Callable[[Scorable], float]

    def __call__(self, response: Scorable) -> float:
        """The rule's value in [0, 1]. Raises InvalidInput where the row lacks the column."""
        return self.measure(response) if response.text.strip() else 0.0


class RuleScorer:
    """A scalar scorer of declared rules; needs no model."""

    def __init__(self, name: str, rules: Sequence[RuleConfig], field: str) -> None:
        """`field` is the rules' path in the spec, for errors. Raises InvalidInput for a rule that cannot be."""
        self._name = name
        self._rules = compile_rules(rules, field)

    @property
    def name(self) -> str:
        return self._name

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        return [sum(rule.config.weight * rule(response) for rule in self._rules) for response in responses]

    def counts(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        """Nothing is held."""


def compile_rules(rules: Sequence[RuleConfig], field: str) -> list[CompiledRule]:
    """Checks rules and makes them callable.

    Raises InvalidInput naming `<field>[i].<key>`, what was found and what is allowed. Needs no data, so Preparation
    calls it before anything else runs.
    """
    return [_compile(rule, f"{field}[{i}]") for i, rule in enumerate(rules)]


def check_rule_columns(rules: Sequence[RuleConfig], columns: Collection[str], field: str) -> None:
    """Raises InvalidInput where a rule reads a column that the data does not have."""
    for i, rule in enumerate(rules):
        if rule.column is not None and rule.column not in columns:
            raise InvalidInput("InvalidRule", _no_column(f"{field}[{i}]", rule.column, columns))


def check_rule_values(rules: Sequence[RuleConfig], row: Scorable, field: str) -> None:
    """Raises InvalidInput naming the row where a rule cannot be asked of it, whatever the response: by its columns alone."""
    for i, rule in enumerate(rules):
        if rule.type == "Length" and rule.column is not None:
            _number_of(rule, f"{field}[{i}]", row)


def _compile(rule: RuleConfig, field: str) -> CompiledRule:
    match rule.type:
        case "Length":
            _forbid(rule, field, "pattern")
            measure = _length(rule, field)
        case "Regex":
            _forbid(rule, field, "target")
            if rule.pattern is None and rule.column is None:
                raise InvalidInput(
                    "InvalidRule", f"{field}: a Regex rule needs `pattern`, `column` or both; neither is set"
                )
            measure = _regex(rule, field)
        case "Format":
            _forbid(rule, field, "target")
            measure = _format(rule, field)
        case "Repetition":
            for key in ("pattern", "target", "column"):
                _forbid(rule, field, key)
            measure = _distinct_share
    return CompiledRule(rule, field, measure)


def _length(rule: RuleConfig, field: str) -> Callable[[Scorable], float]:
    if (rule.target is None) == (rule.column is None):
        found = "neither is" if rule.target is None else "both are"
        raise InvalidInput(
            "InvalidRule", f"{field}: a Length rule needs exactly one of `target` and `column`; {found} set"
        )
    if rule.target is not None and rule.target <= 0:
        raise InvalidInput("InvalidRule", f"{field}.target: {rule.target:g}; a number of words above 0 is allowed")

    def measure(response: Scorable) -> float:
        target = rule.target if rule.target is not None else _number_of(rule, field, response)
        return max(0.0, 1.0 - abs(len(response.text.split()) - target) / target)

    return measure


def _number_of(rule: RuleConfig, field: str, response: Scorable) -> float:
    text = _value_of(rule, field, response)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise InvalidInput(
            "InvalidRow",
            f"{field}.column: row {response.row} has {text!r} in column {rule.column!r}; a number of words above 0 is allowed",
        )
    return number


def _regex(rule: RuleConfig, field: str) -> Callable[[Scorable], float]:
    pattern = _pattern_of(rule, field, COLUMN_PATTERN)
    return lambda response: float(_matches(pattern(response).search, response.text, field))


def _format(rule: RuleConfig, field: str) -> Callable[[Scorable], float]:
    if rule.pattern is None and rule.column is not None:
        raise InvalidInput("InvalidRule", f"{field}: a Format rule with `column` needs a `pattern` that holds {VALUE}")
    pattern = None if rule.pattern is None else _pattern_of(rule, field, rule.pattern)

    def measure(response: Scorable) -> float:
        if response.finish_reason == "length":
            return 0.0
        if pattern is None:
            return 1.0
        return float(_matches(pattern(response).fullmatch, response.text.strip(), field))

    return measure


def _distinct_share(response: Scorable) -> float:
    words = response.text.lower().split()
    size = NGRAM if len(words) > NGRAM else 1
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return len(set(grams)) / len(grams)


def _pattern_of(rule: RuleConfig, field: str, default: str) -> Callable[[Scorable], regex.Pattern[str]]:
    """The compiled pattern for a response: one for all rows, or one for each value of the column."""
    text = rule.pattern if rule.pattern is not None else default
    if rule.column is None:
        compiled = _compile_pattern(text, field)
        return lambda _: compiled
    if VALUE not in text:
        raise InvalidInput(
            "InvalidRule", f"{field}.pattern: {text!r} does not hold {VALUE}, the place of the text of `column`"
        )
    _compile_pattern(text.replace(VALUE, "value"), field)
    by_value: dict[str, regex.Pattern[str]] = {}

    def pattern(response: Scorable) -> regex.Pattern[str]:
        value = _value_of(rule, field, response)
        if value not in by_value:
            by_value[value] = _compile_pattern(text.replace(VALUE, regex.escape(value)), field)
        return by_value[value]

    return pattern


def _compile_pattern(text: str, field: str) -> regex.Pattern[str]:
    try:
        return regex.compile(text)
    except regex.error as error:
        raise InvalidInput("InvalidRule", f"{field}.pattern: {text!r} is no regular expression: {error}") from error


def _matches(match: Callable[..., object], text: str, field: str) -> bool:
    try:
        return match(text, timeout=MATCH_SECONDS) is not None
    except TimeoutError as error:
        raise InvalidInput(
            "InvalidRule",
            f"{field}.pattern: took more than {MATCH_SECONDS:g} s on a response of {len(text)} characters",
        ) from error


def _value_of(rule: RuleConfig, field: str, response: Scorable) -> str:
    assert rule.column is not None
    value = response.columns.get(rule.column)
    if value is None:
        raise InvalidInput("InvalidRow", _no_column(field, rule.column, response.columns, f"row {response.row}"))
    return value


def _no_column(field: str, column: str, columns: Collection[str], where: str = "the data") -> str:
    there = ", ".join(sorted(columns)) or "none"
    return f"{field}.column: {where} has no column {column!r}; there are: {there}"


def _forbid(rule: RuleConfig, field: str, key: str) -> None:
    if getattr(rule, key) is not None:
        raise InvalidInput(
            "InvalidRule", f"{field}.{key}: found {getattr(rule, key)!r}; a {rule.type} rule has no `{key}`"
        )
