"""Selectors, JSON paths, durations and quantities, as tables."""

from __future__ import annotations

import pytest

from selm_local.apiserver.durations import human_duration
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.jsonpath import BadPath, compile_path
from selm_local.apiserver.kinds.jobpolicies import count_indexes
from selm_local.apiserver.kinds.podspec import quantity
from selm_local.apiserver.selectors import from_label_selector, parse_fields, parse_labels

LABELS = {"app": "web", "tier": "2", "odd": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("!nothing", True),
        ("app=web", True),
        ("app==web", True),
        ("app!=web", False),
        ("nothing!=web", True),
        ("odd=", True),
        ("app in (web, api)", True),
        ("app notin (web)", False),
        ("nothing notin (web)", True),
        ("tier>1,tier<3", True),
        ("tier>2", False),
        ("app=web,tier=3", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert parse_labels(text).matches(LABELS) is matches


@pytest.mark.parametrize("text", ["a in b", "a in (b", "=x", "a b", "tier>x", "a=b,", "(a)"])
def test_bad_label_selectors_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_labels(text)
    assert caught.value.code == 400


def test_an_object_s_selector_means_the_same() -> None:
    selector = from_label_selector(
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["2"]}]}
    )
    assert selector.matches(LABELS)
    assert not selector.matches({"app": "web"})


def test_field_selectors() -> None:
    selector = parse_fields("metadata.name=a,status.phase!=Running", lambda name: True)
    values = {"metadata.name": "a", "status.phase": "Pending"}
    assert selector.matches(lambda name: values[name])
    values["status.phase"] = "Running"
    assert not selector.matches(lambda name: values[name])
    with pytest.raises(ApiError, match=r"not supported: spec\.x"):
        parse_fields("spec.x=1", lambda name: name == "metadata.name")


OBJECT = {
    "spec": {"size": 3, "list": [{"name": "a", "n": 1}, {"name": "b", "n": 5}]},
    "metadata": {"annotations": {"example.dev/key": "v"}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        (".spec.nothing", []),
        (".spec.list[0].name", ["a"]),
        (".spec.list[-1].name", ["b"]),
        (".spec.list[9].name", []),
        (".spec.list[*].n", [1, 5]),
        ('.spec.list[?(@.name=="b")].n', [5]),
        (".spec.list[?(@.n>1)].name", ["b"]),
        (".spec.list[?(@.name)].name", ["a", "b"]),
        (".metadata.annotations.example\\.dev/key", ["v"]),
        (".metadata.annotations['example.dev/key']", ["v"]),
    ],
)
def test_json_paths(path: str, found: list[object]) -> None:
    assert compile_path(path)(OBJECT) == found


@pytest.mark.parametrize("path", [".spec..size", ".spec[1:2]", ".spec[?(@.a==b)]", "spec"])
def test_paths_that_are_not_understood_are_refused(path: str) -> None:
    with pytest.raises(BadPath):
        compile_path(path)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3599, "59m"),
        (10800, "3h"),
        (86400 * 2, "2d"),
        (86400 * 800, "2y70d"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("500m", 0.5), ("1Ki", 1024), ("2G", 2e9), ("1e3", 1000), ("1E", 1e18), ("x", None), ("", None)],
)
def test_quantities(text: str, value: float | None) -> None:
    found = quantity(text)
    assert (None if found is None else float(found)) == value


def test_succeeded_indexes() -> None:
    assert count_indexes("0-2,4", 5) == 4
    for wrong in ("2-1", "0,0", "5", "x"):
        with pytest.raises(ValueError, match=r"."):
            count_indexes(wrong, 5)
