"""pydantic's errors as field errors: the path and reason that the API server would name, in words for a person."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from selm_operator.api.base import PATTERN_WORDS, ApiModel
from selm_operator.api.inspection import fields_of

Reason = Literal[
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueForbidden",
    "FieldValueNotSupported",
    "FieldValueDuplicate",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
    "UnknownField",
]

BLOCKING: frozenset[Reason] = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
"""Where one of these is found, the API server asks no rule (apiextensions-apiserver, `hasBlockingErr`)."""

SHOWN = 80
"""Characters of a bad value that a message repeats."""


@dataclass(frozen=True)
class FieldError:
    """One reason to refuse: the path as the API server prints it, and what was found and what is allowed."""

    field: str
    message: str
    reason: Reason = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def of_validation(model: type[ApiModel], root: str, failure: ValidationError) -> list[FieldError]:
    """The errors of validating the value at path `root` against `model`."""
    found = [error for detail in failure.errors(include_url=False) for error in _of_detail(model, root, detail)]
    return list(dict.fromkeys(found))


def shown(value: Any) -> str:
    """A value as a message repeats it: JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def path_of(root: str, loc: tuple[int | str, ...]) -> str:
    """`("scorers", 0, "name")` beneath `spec` as `spec.scorers[0].name`."""
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)


_TYPES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "int_or_string_type": "an integer or a string",
}

_BOUNDS: Mapping[str, tuple[Reason, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than_equal": ("FieldValueInvalid", lambda c: f"must be at least {c['ge']}"),
    "greater_than": ("FieldValueInvalid", lambda c: f"must be greater than {c['gt']}"),
    "less_than_equal": ("FieldValueInvalid", lambda c: f"must be at most {c['le']}"),
    "less_than": ("FieldValueInvalid", lambda c: f"must be less than {c['lt']}"),
    "string_pattern_mismatch": (
        "FieldValueInvalid",
        lambda c: f"must {PATTERN_WORDS.get(c['pattern']) or 'match ' + c['pattern']}",
    ),
    "string_too_short": ("FieldValueInvalid", lambda c: f"must have at least {c['min_length']} characters"),
    "string_too_long": ("FieldValueTooLong", lambda c: f"must have at most {c['max_length']} characters"),
    "too_long": ("FieldValueTooMany", lambda c: f"must have at most {c['max_length']} entries"),
    "literal_error": ("FieldValueNotSupported", lambda c: f"must be one of {c['expected']}"),
}


def _of_detail(model: type[ApiModel], root: str, detail: ErrorDetails) -> Iterator[FieldError]:
    kind, value = detail["type"], detail["input"]
    path, context = path_of(root, detail["loc"]), detail.get("ctx", {})
    if kind == "missing":
        yield FieldError(path, "is required", "FieldValueRequired")
    elif kind == "extra_forbidden":
        yield FieldError(path, _unknown(model, detail["loc"]), "UnknownField")
    elif kind in ("too_short", "too_long") and isinstance(value, list):
        return  # `entries.py` counts all entries, pydantic the valid ones
    elif kind in _TYPES or (kind == "literal_error" and not isinstance(value, str)):
        keys = [] if _is_open(model, detail["loc"]) else list(_keys_within(value, path))
        if keys:  # the API server drops keys that no schema knows before it looks at types
            yield from (FieldError(key, "is no field of a SELMRun", "UnknownField") for key in keys)
        else:
            wanted = _TYPES.get(kind) or f"one of {context['expected']}"
            yield FieldError(path, f"must be {wanted}; found {_named(value)}", "FieldValueTypeInvalid")
    elif kind in _BOUNDS:
        reason, words = _BOUNDS[kind]
        yield FieldError(path, f"{words(context)}; found {shown(value)}", reason)
    else:
        yield FieldError(path, f"{detail['msg']}; found {shown(value)}")


def _keys_within(value: Any, path: str) -> Iterator[str]:
    """Paths of the mapping keys in a value that stands where no mapping may."""
    if isinstance(value, dict):
        yield from (f"{path}.{key}" for key in value)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _keys_within(item, f"{path}[{index}]")


def _named(value: Any) -> str:
    names = {str: "the string", bool: "the boolean", int: "the integer", float: "the number", list: "a list"}
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    return f"{names.get(type(value), type(value).__name__)} {shown(value)}"


def _unknown(model: type[ApiModel], loc: tuple[int | str, ...]) -> str:
    names = sorted(node.alias for node in fields_of(_group_of(model, loc)))
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"is no field of a SELMRun{hint} Allowed here: {', '.join(names)}"


def _is_open(model: type[ApiModel], loc: tuple[int | str, ...]) -> bool:
    """Whether the place is an object of any shape, which the API server prunes nothing from."""
    return any(node.alias == loc[-1] and node.is_open for node in fields_of(_group_of(model, loc))) if loc else False


def _group_of(model: type[ApiModel], loc: tuple[int | str, ...]) -> type[ApiModel]:
    """The group that the last step of the path is a field of."""
    for step in loc[:-1]:
        if isinstance(step, str):
            model = next((node.model for node in fields_of(model) if node.alias == step and node.model), model)
    return model
