"""The `fieldPath` of a rule: which field its failure is reported at.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go (ValidFieldPath).
"""

from __future__ import annotations

import re

from selm_local.apiserver.schema.node import Node

_TOKEN = re.compile(r"\.(?P<name>[^.\[\]]+)|\['(?P<quoted>(?:[^'\\]|\\.)*)'\]")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


def resolve(path: str, node: Node) -> tuple[str, Node]:
    """The path as errors print it (`spec.a[key].b`), and the node it ends at. ValueError where it leads nowhere."""
    printed, rest, found = "", path, node
    while rest:
        match = _TOKEN.match(rest)
        if match is None:
            raise ValueError(f"expected .name or ['name'] but got: {rest}")
        name = match["name"] if match["name"] is not None else _unescape(match["quoted"])
        if found.declares_properties:
            if name not in found.properties:
                raise ValueError("does not refer to a valid field")
            printed, found = (f"{printed}.{name}" if printed else name), found.properties[name]
        elif found.additional is not None:
            printed, found = f"{printed}[{name}]", found.additional
        else:
            raise ValueError("does not refer to a valid field")
        rest = rest[match.end() :]
    return printed, found


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise ValueError(f"invalid string literal: invalid escape char {match[0]}")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", one, text)
