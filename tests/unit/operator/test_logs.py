"""The log's fields: which run, iteration, phase and Job a line is about."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from selm_operator import logs
from selm_operator.logs import JsonFormatter, TextFormatter, add_log_fields, log_context
from support.operator_world import World
from support.run_builder import make_run


class Lines(logging.Handler):
    """Keeps what a formatter makes of each record, at the moment that it is logged."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that abandon a reconcile in its middle leave its fields in the context of their thread."""
    monkeypatch.setattr(logs, "_context", ContextVar("empty", default={}))  # noqa: B039 - never mutated


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("selm_operator")
    level = logger.level
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(level)
    for handler in [h for h in logger.handlers if isinstance(h, Lines)]:
        logger.removeHandler(handler)


def listen(log: logging.Logger, formatter: logging.Formatter) -> list[str]:
    handler = Lines(formatter)
    log.addHandler(handler)
    return handler.lines


def test_a_line_is_one_json_object_with_the_fields_of_its_context(log: logging.Logger) -> None:
    lines = listen(log, JsonFormatter())
    with log_context(namespace="ns", run="tiny"):
        add_log_fields(iteration=0, phase="Preparation", job=None)
        log.warning("two\nlines: %s", "ä")
    log.info("outside")
    inside, outside = (json.loads(line) for line in lines)
    assert inside.pop("time").endswith("Z")
    assert inside == {
        "level": "WARNING",
        "logger": "selm_operator",
        "message": "two\nlines: ä",
        "namespace": "ns",
        "run": "tiny",
        "iteration": 0,
        "phase": "Preparation",
    }
    assert "run" not in outside


def test_text_has_the_same_fields_and_the_exception(log: logging.Logger) -> None:
    lines = listen(log, TextFormatter())
    with log_context(run="tiny", phase="Training"):
        try:
            raise ValueError("bad")
        except ValueError:
            log.exception("it failed")
    assert "ERROR   selm_operator: it failed [run=tiny phase=Training]\nTraceback" in lines[0]
    assert lines[0].endswith("ValueError: bad")


async def test_two_looks_at_one_time_do_not_mix_their_fields(log: logging.Logger) -> None:
    lines = listen(log, JsonFormatter())

    async def look(run: str) -> None:
        with log_context(run=run):
            await asyncio.sleep(0)
            add_log_fields(job=f"{run}-i1")
            await asyncio.sleep(0)
            log.info("here")

    await asyncio.gather(asyncio.create_task(look("a")), asyncio.create_task(look("b")))
    assert {(entry["run"], entry["job"]) for entry in map(json.loads, lines)} == {("a", "a-i1"), ("b", "b-i1")}


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError, match="allowed are namespace, run"), log_context(runs="tiny"):
        pass


async def test_the_log_tells_a_runs_story_with_run_phase_and_job(log: logging.Logger) -> None:
    lines = listen(log, JsonFormatter())
    world = World(make_run())
    await world.reach("Generation")
    world.end(1, said="CUDA error")
    await world.settle()
    entries = [json.loads(line) for line in lines]
    made = next(e for e in entries if e["message"].startswith("created Job default/tiny-i1-gen-a1"))
    assert {k: made[k] for k in ("namespace", "run", "iteration", "phase", "attempt", "job")} == {
        "namespace": "default",
        "run": "tiny",
        "iteration": 1,
        "phase": "Generation",
        "attempt": 1,
        "job": "tiny-i1-gen-a1",
    }
    failed = next(e for e in entries if e["message"].startswith("AttemptFailed"))
    assert (failed["level"], failed["job"]) == ("WARNING", "tiny-i1-gen-a1")
    assert "CUDA error" in failed["message"]
