"""Structured logs: every line tells which run, iteration, phase and Job it is about, as JSON or as text.

The fields live in a context variable. Each look at a run is a task of its own, so what one sets no other sees.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

FIELDS = ("namespace", "run", "iteration", "phase", "attempt", "job")
"""Fields of a line, in their order. Read by whoever searches logs; each is there where it is known."""

_context: ContextVar[Mapping[str, Any]] = ContextVar("selm_log_context", default={})  # noqa: B039 - never mutated


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Lines logged within carry these fields, beside those set around it. Raises KeyError for an unknown field."""
    token = _context.set(_merged(fields))
    try:
        yield
    finally:
        _context.reset(token)


def add_log_fields(**fields: Any) -> None:
    """As `log_context`, from here to the end of the surrounding one: for what is known only after a while."""
    _context.set(_merged(fields))


def _merged(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if unknown := fields.keys() - set(FIELDS):
        raise KeyError(f"unknown log fields {sorted(unknown)}; allowed are {', '.join(FIELDS)}")
    return {**_context.get(), **{name: value for name, value in fields.items() if value is not None}}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields of the context, the exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_ordered(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """`<time> <level> <logger>: <message> [run=... phase=...]`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _ordered().items())
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        line += f" [{fields}]" if fields else ""
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def configure_logs(form: str) -> None:
    """Sends the process' log to stderr, `json` or `text`; kopf's own lines begin at warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _ordered() -> dict[str, Any]:
    known = _context.get()
    return {name: known[name] for name in FIELDS if name in known}


def _time(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
