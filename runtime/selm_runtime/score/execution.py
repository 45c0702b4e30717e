"""The execution scorer: the share of a row's tests that a response's code passes, each run in a sandbox of its own.

The tests stand in a column of the row: a JSON list of Python snippets, or one snippet. The code is the response's first
fenced block that is marked as Python, else its first fenced block, else the whole text. A test passes where code and
test, one after the other in one module, run to their end (`selm_runtime.score.sandbox`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import regex

from selm_runtime.contract import ExecutionConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score.interface import Scorable
from selm_runtime.score.sandbox import Limits, all_pass

_FENCE = regex.compile(
    r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", regex.DOTALL | regex.MULTILINE
)
_PYTHON = ("python", "py", "python3")


class ExecutionScorer:
    """A scalar scorer; needs no model."""

    def __init__(
        self, name: str, config: ExecutionConfig, field: str, between: Callable[[], None] = lambda: None
    ) -> None:
        """`field` is the group's path in the spec, for errors; `between` is called while tests run: it may raise to stop."""
        self._name, self._config, self._field, self._between = name, config, field, between
        self._limits = Limits(config.timeout_seconds, config.memory_mebibytes)
        self._counts: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return self._name

    def score(self, responses: Sequence[Scorable]) -> list[float | None]:
        """The share of its row's tests that each response passes. Raises InvalidInput for a row without tests."""
        tests = [snippets_of(response.columns, response.row, self._config, self._field) for response in responses]
        programs = [
            f"{code_of(response.text)}\n\n{test}\n"
            for response, its in zip(responses, tests, strict=True)
            for test in its
        ]
        outcomes = iter(all_pass(programs, self._limits, self._between))
        scores: list[float | None] = []
        for its in tests:
            passed = sum(next(outcomes) for _ in its)
            self._counts.update(tests=len(its), passed=passed, allPassed=passed == len(its))
            scores.append(passed / len(its))
        return scores

    def counts(self) -> dict[str, float]:
        counts: dict[str, float] = dict(self._counts)
        self._counts.clear()
        return counts

    def close(self) -> None:
        """Nothing is held."""


def code_of(text: str) -> str:
    """The code of a response."""
    blocks = [(match.group(1).lower(), match.group(2)) for match in _FENCE.finditer(text)]
    for language, code in blocks:
        if language in _PYTHON:
            return str(code)
    return str(blocks[0][1]) if blocks else text


def snippets_of(columns: Mapping[str, str], row: int, config: ExecutionConfig, field: str) -> list[str]:
    """The row's tests. Raises InvalidInput naming the row where there are none, or one that is no Python."""
    name = config.tests_column
    text = columns.get(name)
    if text is None or not text.strip():
        raise InvalidInput("InvalidRow", f"{field}.testsColumn: row {row} has no test in column {name!r}")
    tests = _listed(text)
    for test in tests:
        try:
            compile(test, "test", "exec")
        except (SyntaxError, ValueError) as error:
            raise InvalidInput(
                "InvalidRow",
                f"{field}.testsColumn: row {row} has a test in column {name!r} that is no Python: {error}; allowed is a "
                "snippet, or a JSON list of snippets",
            ) from error
    return tests


def _listed(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return [text]
    if isinstance(found, list) and found and all(isinstance(test, str) for test in found):
        return found
    return [text]
