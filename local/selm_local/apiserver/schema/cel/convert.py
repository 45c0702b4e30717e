"""JSON values as a rule sees them: names escaped, numbers as doubles, formatted strings as what they mean.

Source: k8s.io/apiserver/pkg/cel/common/values.go (UnstructuredToVal).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from selm_local.apiserver.schema.cel.decltype import with_type_and_object_meta
from selm_local.apiserver.schema.cel.escaping import escape
from selm_local.apiserver.schema.formats import parse_bytes, parse_date, parse_date_time, parse_duration
from selm_local.apiserver.schema.jsonvalue import Json, is_number
from selm_local.apiserver.schema.node import Node


class Unreadable(Exception):
    """A value that does not fit its schema, which a rule reading it must hear of."""


def cel_time(moment: dt.datetime, text: str = "") -> timestamp_pb2.Timestamp:
    """A time as CEL takes it in; `text`, where it came from, has nanoseconds that Python's datetime has not."""
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(moment)
    fraction = re.search(r"\.(\d+)", text)
    if fraction:
        stamp.nanos = int(fraction[1][:9].ljust(9, "0"))
    return stamp


def cel_duration(span: dt.timedelta) -> duration_pb2.Duration:
    """A duration as CEL takes it in."""
    result = duration_pb2.Duration()
    result.FromTimedelta(span)
    return result


def _time(parse: Callable[[str], dt.datetime | None], text: str) -> timestamp_pb2.Timestamp | None:
    moment = parse(text)
    return None if moment is None else cel_time(moment, text)


def _duration(text: str) -> duration_pb2.Duration | None:
    span = parse_duration(text)
    return None if span is None else cel_duration(span)


_FORMATS: dict[str, Callable[[str], Any]] = {
    "duration": _duration,
    "date": lambda text: _time(parse_date, text),
    "date-time": lambda text: _time(parse_date_time, text),
    "byte": parse_bytes,
}


class Converter:
    """Converts one object; `problems` gathers what could not be read (and was left out) in its order."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def convert(self, node: Node, value: Json, *, resource: bool = False) -> Any:
        """The CEL value. A field that does not fit its schema is left out and noted: reading it fails the rule."""
        if value is None:
            return None
        if resource or node.embedded:
            node = with_type_and_object_meta(node)
        if isinstance(value, dict) and node.type == "object":
            return self._object(node, value)
        if isinstance(value, list) and node.type == "array":
            items = node.items
            return value if items is None else [self.convert(items, item) for item in value]
        return _scalar(node, value)

    def _object(self, node: Node, value: dict[str, Json]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, item in value.items():
            schema = node.properties.get(name)
            try:
                if schema is not None:
                    if item is not None:  # a null field of an object counts as absent
                        result[escape(name) or name] = self.convert(schema, item)
                elif node.additional is not None and not node.declares_properties:
                    result[name] = self.convert(node.additional, item)
                else:
                    result[name] = item
            except Unreadable as problem:
                self.problems.append(str(problem))
        return result


def _scalar(node: Node, value: Json) -> Any:
    if node.int_or_string:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return value
        raise Unreadable("invalid data, expected XIntOrString value to be either a string or integer")
    if node.type == "number":
        if is_number(value):
            return float(value)
        raise Unreadable(f"invalid data, expected float, got {_go_type(value)}")
    if node.type == "integer":
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise Unreadable(f"invalid data, expected int, got {_go_type(value)}")
    if node.type == "boolean":
        if isinstance(value, bool):
            return value
        raise Unreadable(f"invalid data, expected bool, got {_go_type(value)}")
    if node.type == "string":
        if not isinstance(value, str):
            raise Unreadable(f"invalid data, expected string, got {_go_type(value)}")
        parse = _FORMATS.get(node.format)
        if parse is None:
            return value
        parsed = parse(value)
        if parsed is None:
            raise Unreadable(f"Invalid {node.format} formatted string {value}")
        return parsed
    if node.type in ("object", "array"):
        raise Unreadable(f"invalid data, expected {node.type}, got {_go_type(value)}")
    return value


def _go_type(value: Json) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"
