"""The rule scorer: what each rule measures, and what is refused."""

from __future__ import annotations

import pytest

from selm_runtime.contract import RuleConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score.interface import Scorable
from selm_runtime.score.rules import RuleScorer, check_rule_columns, compile_rules

FIELD = "spec.scoring.scorers[0].rules"


def score(rule: RuleConfig, text: str, *, finish: str | None = "stop", **columns: str) -> float:
    response = Scorable(row=7, messages=[], text=text, finish_reason=finish, columns=columns)
    return RuleScorer("shape", [rule], FIELD).score([response])[0]


def rule(kind: str, **settings: object) -> RuleConfig:
    return RuleConfig.model_validate({"type": kind, **settings})


MEASURES: dict[str, tuple[RuleConfig, str, float]] = {
    "a response of exactly the target length has 1": (rule("Length", target=4), "one two three four", 1.0),
    "half the target has half": (rule("Length", target=4), "one two", 0.5),
    "one and a half times the target has half": (rule("Length", target=4), "a b c d e f", 0.5),
    "more than twice the target has 0, never less": (rule("Length", target=2), "a b c d e f g", 0.0),
    "length may come from the row": (rule("Length", column="words"), "a b", 1.0),
    "a pattern matches anywhere": (rule("Regex", pattern="b+"), "abba", 1.0),
    "a pattern that is nowhere gives 0": (rule("Regex", pattern="x"), "abba", 0.0),
    "a column asks for the row's own word": (rule("Regex", column="topic"), "Do you like Rain? Yes", 1.0),
    "a part of another word is not the row's word": (rule("Regex", column="topic"), "a rainbow", 0.0),
    "a pattern around the column's word": (rule("Regex", pattern="(?i)^{value}", column="topic"), "Rainbows", 1.0),
    "the column's word is taken literally": (rule("Regex", column="odd"), "a.c", 1.0),
    "the column's dot is no wildcard": (rule("Regex", column="odd"), "abc", 0.0),
    "a format matches the whole text": (rule("Format", pattern="[A-Z][^.]*[.]"), " One sentence. ", 1.0),
    "a format with more behind it does not match": (rule("Format", pattern="[A-Z][^.]*[.]"), "One. Two", 0.0),
    "without a pattern any ended text is well formed": (rule("Format"), "anything", 1.0),
    "no repetition has 1": (rule("Repetition"), "all of these words differ", 1.0),
    "one word again and again has little": (rule("Repetition"), "no no no no no no", 1 / 4),
    "two short words that are equal have half": (rule("Repetition"), "No no", 0.5),
}


@pytest.mark.parametrize("case", MEASURES)
def test_rules_measure(case: str) -> None:
    config, text, expected = MEASURES[case]
    assert score(config, text, topic="rain", odd="a.c", words="2") == pytest.approx(expected)


def test_a_response_cut_at_its_limit_has_no_format() -> None:
    assert score(rule("Format"), "cut", finish="length") == 0.0
    assert score(rule("Format"), "the data's own", finish=None) == 1.0


@pytest.mark.parametrize("text", ["", "  \n"])
@pytest.mark.parametrize(
    "config",
    [rule("Length", target=1), rule("Regex", pattern=".*"), rule("Format"), rule("Repetition")],
    ids=lambda c: c.type,
)
def test_an_empty_response_pleases_no_rule(config: RuleConfig, text: str) -> None:
    assert score(config, text) == 0.0


def test_the_score_is_the_weighted_sum() -> None:
    rules = [rule("Length", target=2, weight=0.5), rule("Regex", pattern="b", weight=-2.0), rule("Format")]
    response = Scorable(row=0, messages=[], text="a b", finish_reason="stop")
    assert RuleScorer("sum", rules, FIELD).score([response]) == [pytest.approx(0.5 - 2.0 + 1.0)]


REFUSED: dict[str, tuple[RuleConfig, str]] = {
    "a length without target or column": (rule("Length"), "neither is set"),
    "a length with both": (rule("Length", target=3, column="n"), "both are set"),
    "a target of nothing": (rule("Length", target=0), r"rules\[0\]\.target: 0"),
    "a length with a pattern": (rule("Length", target=3, pattern="x"), r"rules\[0\]\.pattern: found 'x'"),
    "a regex that says nothing": (rule("Regex"), "needs `pattern`, `column` or both"),
    "a regex that does not parse": (rule("Regex", pattern="("), r"rules\[0\]\.pattern: '\(' is no regular expression"),
    "a column that the pattern never uses": (rule("Regex", pattern="x", column="topic"), r"does not hold \{value\}"),
    "a format with a column alone": (rule("Format", column="topic"), "needs a `pattern`"),
    "a repetition with a column": (rule("Repetition", column="topic"), r"a Repetition rule has no `column`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_runs(case: str) -> None:
    config, message = REFUSED[case]
    with pytest.raises(InvalidInput, match=message) as refusal:
        compile_rules([config], FIELD)
    assert refusal.value.message.startswith(f"{FIELD}[0]")


def test_a_row_without_the_column_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"rules\[0\]\.column: row 7 has no column 'topic'; there are: title"):
        score(rule("Regex", column="topic"), "text", title="x")


def test_a_target_that_is_no_number_is_named() -> None:
    with pytest.raises(InvalidInput, match="row 7 has 'many' in column 'words'"):
        score(rule("Length", column="words"), "text", words="many")


def test_data_without_the_column_is_refused() -> None:
    check_rule_columns([rule("Regex", column="topic")], {"topic"}, FIELD)
    with pytest.raises(InvalidInput, match=r"rules\[0\]\.column: the data has no column 'topic'; there are: none"):
        check_rule_columns([rule("Regex", column="topic")], set(), FIELD)


def test_a_pattern_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selm_runtime.score.rules.MATCH_SECONDS", 0.05)
    with pytest.raises(InvalidInput, match=r"rules\[0\]\.pattern: took more than 0\.05 s on a response"):
        score(rule("Regex", pattern=r"(a|a|aa|aaa)+(?=b)c"), "a" * 200)
