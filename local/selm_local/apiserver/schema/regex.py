"""RE2, the regular expressions of Kubernetes' schemas, through the CEL library, which is built on it."""

from __future__ import annotations

import functools
import json

from cel_expr_python import cel

_ENV = cel.NewEnv(variables={"text": cel.Type.STRING})


@functools.lru_cache(maxsize=2048)
def _program(pattern: str) -> cel.Expression:
    return _ENV.compile(f"text.matches({json.dumps(pattern, ensure_ascii=False)})")


def problem(pattern: str) -> str | None:
    """Why `pattern` is no regular expression of RE2, or None where it is one."""
    outcome = _program(pattern).eval(data={"text": ""})
    if outcome.type() == cel.Type.BOOL:
        return None
    return str(outcome.value()).partition("invalid regular expression: ")[2] or str(outcome.value())


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` is found anywhere in `text`. A pattern that is none matches nothing."""
    return _remembered(pattern, text) if len(text) <= 256 else _matches(pattern, text)


def _matches(pattern: str, text: str) -> bool:
    return _program(pattern).eval(data={"text": text}).value() is True


_remembered = functools.lru_cache(maxsize=8192)(_matches)
