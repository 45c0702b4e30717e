"""Label and field selectors: the grammar of the Kubernetes API, as pure predicates.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors and field selectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from selm_local.apiserver.errors import ApiError, bad_request

_TOKEN = re.compile(r"\s*(?:(!=|==|=|!|\(|\)|,|>|<)|([^\s!=(),<>]+))")


@dataclass(frozen=True, slots=True)
class Requirement:
    """key, operator (`in`, `notin`, `exists`, `!`, `gt`, `lt`), values."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case _:
                return value is not None and self._compare(value)

    def _compare(self, value: str) -> bool:
        bound = int(next(iter(self.values)))
        try:
            number = int(value)
        except ValueError:
            return False
        return number > bound if self.operator == "gt" else number < bound


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none means everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(r.matches(labels) for r in self.requirements)

    def wanted(self) -> list[tuple[str, frozenset[str]]]:
        """(key, values) of what an index of labels can answer."""
        return [(r.key, r.values) for r in self.requirements if r.operator == "in"]

    def __bool__(self) -> bool:
        return bool(self.requirements)


EVERYTHING = Selector()


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            if text[at:].strip():
                raise _refuse(f"unable to parse requirement: unexpected {text[at:].strip()!r}")
            break
        tokens.append(found.group(1) or found.group(2))
        at = found.end()
    return tokens


def _refuse(why: str) -> ApiError:
    return bad_request(why)


class _Parser:
    def __init__(self, text: str):
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next(self) -> str | None:
        token = self.peek()
        self.at += 1
        return token

    def word(self, what: str) -> str:
        token = self.next()
        if token is None or re.fullmatch(r"[!=(),<>]+", token):
            raise _refuse(f"unable to parse requirement: found '{token or ''}', expected: {what}")
        return token

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.next()
            return Requirement(self.word("identifier"), "!")
        key = self.word("!, identifier, or 'end of string'")
        match self.peek():
            case None | ",":
                return Requirement(key, "exists")
            case "=" | "==" | "!=":
                operator = "notin" if self.next() == "!=" else "in"
                return Requirement(key, operator, frozenset({self.value()}))
            case ">" | "<":
                operator = "gt" if self.next() == ">" else "lt"
                bound = self.value()
                if not re.fullmatch(r"-?\d+", bound):
                    raise _refuse(
                        f"values[0][{key}]: Invalid value: {bound!r}: for 'Gt', 'Lt' operators, the value must be an integer"
                    )
                return Requirement(key, operator, frozenset({bound}))
            case "in" | "notin":
                operator = self.word("operator")
                return Requirement(key, operator, self.set_of_values())
            case found:
                raise _refuse(f"unable to parse requirement: found '{found}', expected: in, notin, =, ==, !=, gt, lt")

    def value(self) -> str:
        if self.peek() in (None, ","):
            return ""
        return self.word("identifier")

    def set_of_values(self) -> frozenset[str]:
        opening = self.next()
        if opening != "(":
            raise _refuse(f"unable to parse requirement: found '{opening or ''}' expected: '('")
        values = set()
        while True:
            values.add("" if self.peek() in (",", ")") else self.word("identifier"))
            match self.next():
                case ")":
                    return frozenset(values)
                case ",":
                    continue
                case found:
                    raise _refuse(f"unable to parse requirement: found '{found or ''}', expected: ',' or ')'")


def parse_labels(text: str | None) -> Selector:
    """`a=b,c!=d,e in (f,g),h,!i`. Raises ApiError 400."""
    if not text or not text.strip():
        return Selector()
    parser = _Parser(text)
    found = [parser.requirement()]
    while parser.peek() is not None:
        separator = parser.next()
        if separator != ",":
            raise _refuse(f"unable to parse requirement: found '{separator}', expected: ',' or 'end of string'")
        found.append(parser.requirement())
    return Selector(tuple(found))


def from_label_selector(selector: Mapping[str, object] | None) -> Selector:
    """A metav1.LabelSelector (matchLabels, matchExpressions) as a Selector; an empty one selects everything."""
    found: list[Requirement] = []
    labels = (selector or {}).get("matchLabels") or {}
    if isinstance(labels, Mapping):
        found += [Requirement(str(k), "in", frozenset({str(v)})) for k, v in labels.items()]
    expressions = (selector or {}).get("matchExpressions") or []
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    if isinstance(expressions, list):
        for e in expressions:
            found.append(Requirement(e["key"], operators[e["operator"]], frozenset(e.get("values") or [])))
    return Selector(tuple(found))


def text_of(selector: Mapping[str, Any] | None) -> str:
    """A metav1.LabelSelector as the text of a query."""
    parts = [f"{k}={v}" for k, v in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for one in (selector or {}).get("matchExpressions") or []:
        values = ",".join(sorted(one.get("values") or []))
        match one["operator"]:
            case "Exists":
                parts.append(one["key"])
            case "DoesNotExist":
                parts.append(f"!{one['key']}")
            case operator:
                parts.append(f"{one['key']} {operator.lower()} ({values})")
    return ",".join(parts)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """(field, equal?, value) triples; all must hold."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    def matches(self, value_of: Callable[[str], str]) -> bool:
        return all((value_of(name) == value) is equal for name, equal, value in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def exact(self, name: str) -> str | None:
        """The value that `name` must have, where the selector says so."""
        return next((value for n, equal, value in self.terms if n == name and equal), None)


def parse_fields(text: str | None, allowed: Callable[[str], bool]) -> FieldSelector:
    """`metadata.name=x,status.phase!=Running`. Raises ApiError 400, also for a field that is not selectable."""
    terms: list[tuple[str, bool, str]] = []
    for part in re.split(r"(?<!\\),", text or ""):
        if not part:
            continue
        found = re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", part)
        if not found:
            raise _refuse(f"invalid selector: '{text}'; can't understand '{part}'")
        name, operator, value = found.groups()
        if not allowed(name):
            raise _refuse(f"field label not supported: {name}")
        terms.append((name, operator != "!=", re.sub(r"\\(.)", r"\1", value)))
    return FieldSelector(tuple(terms))
