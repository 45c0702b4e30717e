"""YAML is read as kubectl reads it."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.api.load import YamlError, load_all_yaml, load_yaml

READ: dict[str, tuple[str, Any]] = {
    "a float without a point is a number": ("5e-7", 5e-7),
    "a float with a point is a number": ("5.0e-7", 5e-7),
    "a quoted number stays a string": ('"5e-7"', "5e-7"),
    "a whole float is an integer": ("1e2", 100),
    "one point nothing is an integer": ("1.0", 1),
    "a leading zero is octal": ("0755", 493),
    "a leading zero before an 8 is not octal": ("08", 8),
    "hexadecimal": ("0x10", 16),
    "underscores in integers": ("1_000", 1000),
    "minutes and seconds are a string": ("1:30", "1:30"),
    "a date is a string": ("2026-01-01", "2026-01-01"),
    "yes is a boolean": ("yes", True),
    "an exponent without digits is a string": ("1e", "1e"),
    "a version is a string": ("1.2.3", "1.2.3"),
    "a tilde is null": ("~", None),
    "a quantity is a string": ("80Gi", "80Gi"),
}


@pytest.mark.parametrize("sentence", READ)
def test_scalars(sentence: str) -> None:
    text, value = READ[sentence]
    found = load_yaml(f"value: {text}")["value"]
    assert (found, type(found)) == (value, type(value))


def test_keys_become_strings() -> None:
    assert load_yaml("1: a\ntrue: b\nc: d") == {"1": "a", "true": "b", "c": "d"}


def test_a_key_given_twice_is_refused_with_its_line() -> None:
    with pytest.raises(YamlError, match=r"'seed' is given twice.*\n.*line 2"):
        load_yaml("seed: 1\nseed: 2")


def test_merged_keys_may_be_overridden() -> None:
    assert load_yaml("base: &b {x: 1}\nother: {<<: *b, x: 2}")["other"] == {"x": 2}


def test_documents() -> None:
    assert load_all_yaml("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert load_yaml("# nothing") is None
    with pytest.raises(YamlError, match="found 2"):
        load_yaml("a: 1\n---\nb: 2")


def test_broken_yaml_says_where() -> None:
    with pytest.raises(YamlError, match="line 2"):
        load_yaml("a: [1,\n")
