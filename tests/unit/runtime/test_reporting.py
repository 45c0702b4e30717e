"""The termination message: at most 2 KiB, merged, replaced whole; progress lines: not too many."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from selm_runtime.contract import TERMINATION_MESSAGE_LIMIT, Phase, PhaseError, TerminationMessage
from selm_runtime.reporting import Reporter, encode, read_termination_message, replace_file

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "termination-log"


def _reporter(log: Path | None = None) -> tuple[Reporter, io.StringIO]:
    stream = io.StringIO()
    return Reporter(Phase.GENERATION, 2, 1, termination_log=log, stream=stream), stream


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_commit_adds_to_what_was_said(log: Path) -> None:
    reporter, _ = _reporter(log)
    reporter.committed(chunks=(1, 3))
    reporter.committed(chunks=(2, 3), metrics={"reward": 0.5})
    reporter.committed(manifest=DIGEST, rows=24)
    assert json.loads(log.read_text()) == {
        "manifest": DIGEST,
        "rows": 24,
        "chunks": {"done": 2, "total": 3},
        "metrics": {"reward": 0.5},
    }


def test_another_process_of_the_pod_adds_too(log: Path) -> None:
    _reporter(log)[0].committed(checkpoint_step=3)
    _reporter(log)[0].failed("StoreUnavailable", "away")
    said = read_termination_message(log)
    assert (said.checkpoint_step, said.error) == (3, PhaseError(reason="StoreUnavailable", message="away"))


def test_what_another_program_left_there_is_replaced(log: Path) -> None:
    log.write_text("core dumped")
    _reporter(log)[0].committed(best_iteration=2, model_uri="s3://b/model")
    assert json.loads(log.read_text()) == {"bestIteration": 2, "modelURI": "s3://b/model"}


@pytest.mark.parametrize("letter", ["x", "é", "\n", '"', "漢"])
def test_a_long_error_is_shortened_to_the_limit(log: Path, letter: str) -> None:
    reporter, _ = _reporter(log)
    reporter.committed(manifest=DIGEST, metrics={f"metric{n:02d}": 1 / 3 for n in range(16)})
    reporter.failed("Crashed", letter * 5000)
    data = log.read_bytes()
    assert len(data) <= TERMINATION_MESSAGE_LIMIT
    said = TerminationMessage.model_validate_json(data)
    assert said.error is not None
    assert said.error.message.startswith(letter * 60)
    assert said.error.message.endswith("…")
    assert len(said.metrics) == 16
    assert len(data) > TERMINATION_MESSAGE_LIMIT - 64 or letter == "漢"


def test_metrics_go_where_nothing_else_can(log: Path) -> None:
    message = TerminationMessage(manifest=DIGEST, metrics={f"{n:03d}" + "m" * 300: 1.0 for n in range(16)})
    data = encode(message)
    assert len(data) <= TERMINATION_MESSAGE_LIMIT
    kept = TerminationMessage.model_validate_json(data)
    assert kept.manifest == DIGEST
    assert list(kept.metrics) == list(message.metrics)[: len(kept.metrics)]


def test_beyond_16_metrics_the_first_are_kept(log: Path) -> None:
    _reporter(log)[0].committed(metrics={f"m{n}": 1.0 for n in range(20)})
    assert list(read_termination_message(log).metrics) == [f"m{n}" for n in range(16)]


def test_the_message_is_replaced_by_a_rename(log: Path) -> None:
    replace_file(log, b"one")
    inode = log.stat().st_ino
    replace_file(log, b"three")
    assert log.read_bytes() == b"three"
    assert log.stat().st_ino != inode
    assert [path.name for path in log.parent.iterdir()] == [log.name]


def test_where_it_cannot_be_renamed_over_it_is_written_in_one_go(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    log.write_text("a long message that was there before")
    inode = log.stat().st_ino
    writes: list[bytes] = []
    pwrite = os.pwrite

    def spy(descriptor: int, data: bytes, offset: int) -> int:
        writes.append(data)
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", spy)
    replace_file(log, b'{"rows":1}')
    assert log.read_bytes() == b'{"rows":1}'
    assert log.stat().st_ino == inode
    # Had the process been killed after the write, before the cut: still JSON.
    assert len(writes) == 1
    assert json.loads(writes[0]) == {"rows": 1}


def test_a_message_that_cannot_be_written_does_not_stop_the_work(tmp_path: Path) -> None:
    _reporter(tmp_path / "none" / "log")[0].committed(rows=1)
    _reporter(None)[0].committed(rows=1)


def test_progress_is_one_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("selm_runtime.reporting.time.monotonic", lambda: now[0])
    reporter, stream = _reporter()
    for done in range(10):
        now[0] += 1.0
        reporter.progress(done=done, total=100, unit="prompts", tokens_per_second=12.5)
    assert [line["done"] for line in _lines(stream)] == [0, 3, 6, 9]
    assert _lines(stream)[0] == {
        "selm": "progress",
        "phase": "Generation",
        "iteration": 2,
        "index": 1,
        "done": 0,
        "total": 100,
        "unit": "prompts",
        "tokensPerSecond": 12.5,
    }


def test_the_last_unit_and_forced_lines_always_print() -> None:
    reporter, stream = _reporter()
    reporter.progress(done=1, total=3, unit="rows")
    reporter.progress(done=2, total=3, unit="rows")
    reporter.progress(done=2, total=3, unit="rows", force=True)
    reporter.progress(done=3, total=3, unit="rows")
    assert [line["done"] for line in _lines(stream)] == [1, 2, 3]


def test_events_always_print() -> None:
    reporter, stream = _reporter()
    reporter.event("engine-call", chunk=3)
    reporter.event("engine-call", chunk=4)
    assert [(line["selm"], line["chunk"]) for line in _lines(stream)] == [("engine-call", 3), ("engine-call", 4)]


def test_the_environment_names_the_log(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELM_TERMINATION_LOG", str(log))
    Reporter.from_environment(Phase.TRAINING, 1, 0).committed(rows=1)
    assert json.loads(log.read_text()) == {"rows": 1}


def test_a_stage_tells_its_seconds_and_what_was_found_in_it_once_it_has_ended_well() -> None:
    stream = io.StringIO()
    reporter = Reporter(Phase.PREPARATION, 0, 0, stream=stream)
    with reporter.stage("data", model="tiny") as found:
        assert stream.getvalue() == ""
        found["rows"] = 3
    with pytest.raises(KeyError), reporter.stage("models"):
        raise KeyError
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line.pop("seconds") >= 0
    assert {key: line[key] for key in ("selm", "name", "model", "rows")} == {
        "selm": "stage",
        "name": "data",
        "model": "tiny",
        "rows": 3,
    }
