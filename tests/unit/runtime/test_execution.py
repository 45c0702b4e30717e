"""The execution scorer: how tests and code are read, and the share that passes (the sandbox: test_sandbox.py)."""

from __future__ import annotations

import json

import pytest

from selm_runtime.contract import ExecutionConfig
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.score.execution import ExecutionScorer, code_of, snippets_of
from selm_runtime.score.interface import Scorable

FIELD = "spec.scoring.scorers[0].execution"


def scorable(text: str, **columns: str) -> Scorable:
    return Scorable(7, [{"role": "user", "content": "Write double(x)."}], text, "stop", columns)


TESTS = json.dumps(["assert double(2) == 4", "assert double(-1) == -2", "assert double('a') == 'aa'"])
RIGHT = "Here it is:\n```python\ndef double(x):\n    return 2 * x\n```\nAnd so on."
NUMBERS_ONLY = "```py\ndef double(x):\n    return abs(x) * 2 if x > 0 else x - 1\n```"


def test_the_score_is_the_share_of_tests_that_pass() -> None:
    scorer = ExecutionScorer("tests", ExecutionConfig(timeout_seconds=20), FIELD)
    responses = [scorable(text, tests=TESTS) for text in (RIGHT, NUMBERS_ONLY, "I cannot.", "")]
    assert scorer.score(responses) == [1.0, pytest.approx(2 / 3), 0.0, 0.0]
    assert scorer.counts() == {"tests": 12, "passed": 5, "allPassed": 1}
    assert scorer.counts() == {}


def test_a_stop_is_heard_while_tests_run() -> None:
    def stop() -> None:
        raise TemporaryFailure("Preempted", "asked to go")

    scorer = ExecutionScorer("tests", ExecutionConfig(timeout_seconds=600), FIELD, stop)
    with pytest.raises(TemporaryFailure, match="asked to go"):
        scorer.score([scorable("import time; time.sleep(600)", tests=TESTS)])


CODE = {
    "the block marked as Python": ("```sh\nls\n```\n```python\nx = 1\n```\n```python\nx = 2\n```", "x = 1\n"),
    "else the first block": ("see\n```\nx = 1\n```\n```\nx = 2\n```", "x = 1\n"),
    "else all of it": ("x = 1", "x = 1"),
    "a block that was cut": ("```python\nx = 1\ny", "x = 1\ny"),
    "an indented block": ("- so:\n  ```Python\nx = 1\n  ```", "x = 1\n"),
}


@pytest.mark.parametrize("case", CODE)
def test_the_code_of_a_response(case: str) -> None:
    text, code = CODE[case]
    assert code_of(text) == code


def test_tests_are_a_list_or_one_snippet() -> None:
    config = ExecutionConfig()
    assert snippets_of({"tests": TESTS}, 7, config, FIELD) == json.loads(TESTS)
    assert snippets_of({"tests": "assert f()"}, 7, config, FIELD) == ["assert f()"]
    assert snippets_of({"tests": "[1, 2]"}, 7, config, FIELD) == ["[1, 2]"]
    for columns, words in (
        ({}, r"testsColumn: row 7 has no test in column 'tests'"),
        ({"tests": " "}, "row 7 has no test"),
        ({"tests": "assert ("}, r"row 7 has a test in column 'tests' that is no Python"),
        ({"tests": json.dumps(["x = 1", "assert ("])}, "no Python"),
    ):
        with pytest.raises(InvalidInput, match=words):
            snippets_of(columns, 7, config, FIELD)
