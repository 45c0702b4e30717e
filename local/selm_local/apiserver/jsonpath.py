"""kubectl's dialect of JSONPath, as printer columns and selectable fields use it.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/. Supported: `.a.b`, `['a']`, `[0]`, `[-1]`, `[*]`, `.*`,
`[?(@.x=="y")]` with ==, !=, <, <=, >, >= or bare existence, and dots escaped by a backslash. Others (`..`, slices,
unions, range) are refused when the path is compiled.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

Step = Callable[[Iterable[Any]], list[Any]]
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NAME = re.compile(r"\.((?:\\.|[^.\[\\])+)")
_INDEX = re.compile(r"\[\s*(-?\d+|\*)\s*\]")
_KEY = re.compile(r"\[\s*(?:'((?:\\.|[^'])*)'|\"((?:\\.|[^\"])*)\")\s*\]")
_FILTER = re.compile(r"\[\?\(\s*@((?:\\.|[^=!<>\s)])*)\s*(?:(==|!=|<=|>=|<|>)\s*(.*?))?\s*\)\]")


class BadPath(ValueError):
    """The path cannot be read; the text says where."""


@lru_cache(maxsize=1024)
def compile_path(path: str) -> Callable[[Any], list[Any]]:
    """A function from a value to everything that the path finds in it."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    text = text.removeprefix("$")
    steps: list[Step] = []
    at = 0
    while at < len(text):
        step, at = _step(text, at)
        if step is not None:
            steps.append(step)

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = step(found)
        return found

    return find


def _step(text: str, at: int) -> tuple[Step | None, int]:
    if text[at] == "." and at + 1 == len(text):
        return None, at + 1
    if text.startswith(".[", at):
        at += 1
    if m := _NAME.match(text, at):
        name = re.sub(r"\\(.)", r"\1", m.group(1))
        return (_everything if name == "*" else _child(name)), m.end()
    if m := _INDEX.match(text, at):
        return (_everything if m.group(1) == "*" else _item(int(m.group(1)))), m.end()
    if m := _KEY.match(text, at):
        return _child(re.sub(r"\\(.)", r"\1", m.group(1) if m.group(1) is not None else m.group(2))), m.end()
    if m := _FILTER.match(text, at):
        return _where(m.group(1), m.group(2), m.group(3)), m.end()
    raise BadPath(f"{text!r}: cannot read {text[at:]!r}")


def _child(name: str) -> Step:
    return lambda values: [v[name] for v in values if isinstance(v, dict) and name in v]


def _item(index: int) -> Step:
    return lambda values: [v[index] for v in values if isinstance(v, list) and -len(v) <= index < len(v)]


def _everything(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for v in values:
        found += v.values() if isinstance(v, dict) else v if isinstance(v, list) else []
    return found


def _where(left: str, op: str | None, right: str | None) -> Step:
    find = compile_path(left)
    if op is None:
        return lambda values: [item for item in _everything(values) if find(item)]
    compare, literal = _COMPARE[op], _literal(right or "")

    def holds(item: Any) -> bool:
        found = find(item)
        if not found:
            return False
        try:
            return compare(found[0], literal)
        except TypeError:
            return False

    return lambda values: [item for item in _everything(values) if holds(item)]


def _literal(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        raise BadPath(f"cannot read the value {text!r} in a filter") from None
