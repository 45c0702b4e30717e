"""The execution scorer: what its sandbox lets through and what not, how tests and code are read."""

from __future__ import annotations

import json
import os
import time

import pytest

from selm_runtime.contract import ExecutionConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.score.execution import ExecutionScorer, code_of, snippets_of
from selm_runtime.score.interface import Scorable
from selm_runtime.score.sandbox import Limits, all_pass, passes

FIELD = "spec.scoring.scorers[0].execution"
LIMITS = Limits(seconds=20, memory_mebibytes=256)


def refused(statement: str, setup: str = "pass") -> str:
    """A program that passes only where the statement is not permitted."""
    return f"{setup}\ntry:\n    {statement}\nexcept PermissionError:\n    pass\nelse:\n    raise SystemExit(1)\n"


LETS_THROUGH = {
    "a plain program": "assert sum(range(10)) == 45",
    "the standard library": "import json, re, math, collections; assert json.loads('[1]') == [1]",
    "a thread": "import threading; r = []; t = threading.Thread(target=r.append, args=(1,)); t.start(); t.join(); assert r",
    "a small file of its own": "open('x', 'w').write('y'); assert open('x').read() == 'y'",
    "no environment": "import os; assert 'PATH' not in os.environ and 'AWS_SECRET_ACCESS_KEY' not in os.environ",
    "no socket": refused("socket.socket()", "import socket"),
    "no other process": refused("os.fork()", "import os"),
    "no other program": refused("os.execv('/bin/true', ['true'])", "import os"),
    "no subprocess": refused("subprocess.run(['true'])", "import subprocess"),
    "no signal to the scorer": refused("os.kill(os.getppid(), 0)", "import os"),
    "no session of its own": refused("os.setsid()", "import os"),
}


def test_what_runs_to_its_end_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    outcomes = all_pass(list(LETS_THROUGH.values()), LIMITS)
    assert [name for name, passed in zip(LETS_THROUGH, outcomes, strict=True) if not passed] == []


STOPS = {
    "an exception": "assert 1 == 2",
    "no Python": "def (",
    "leaving early with success": "import sys; sys.exit(0)",
    "leaving at once with success": "import os; os._exit(0)",
    "too much memory": "x = bytearray(1 << 30)",
    "a large file": "open('x', 'wb').write(b'x' * (8 << 20))",
    "writing something else where the result goes": "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'0' * 32)\n"
    "    except OSError: pass\nos._exit(0)",
}


def test_what_does_not_fails() -> None:
    outcomes = all_pass(list(STOPS.values()), LIMITS)
    assert [name for name, passed in zip(STOPS, outcomes, strict=True) if passed] == []


@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(600)"])
def test_what_takes_too_long_is_killed(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selm_runtime.score.sandbox.START_SECONDS", 1.0)
    started = time.monotonic()
    assert not passes(program, Limits(seconds=1, memory_mebibytes=256))
    assert time.monotonic() - started < 60


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    passes("open('x', 'w').write('y')", LIMITS)
    assert os.listdir(str(tmp_path)) == []
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1


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


def test_a_machine_that_cannot_cut_code_off_runs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from selm_runtime.score import sandbox

    monkeypatch.setattr(sandbox, "_CHILD", sandbox._CHILD.replace("prctl(22, 2,", "prctl(22, 99,"))
    with pytest.raises(InvalidInput, match="seccomp filters, which this machine does not allow"):
        passes("x = 1", LIMITS)
