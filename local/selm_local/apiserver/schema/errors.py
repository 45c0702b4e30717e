"""Field errors as kube-apiserver reports them in `details.causes` of a v1.Status.

Source: k8s.io/apimachinery/pkg/util/validation/field (types of errors, their message prefixes, `Path.String()`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal[
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueForbidden",
    "FieldValueNotSupported",
    "FieldValueDuplicate",
    "FieldValueNotFound",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
    "InternalError",
    "UnknownField",
]

NO_FIELD = "<nil>"
"""What Kubernetes writes where an error belongs to the whole object."""


@dataclass(frozen=True)
class FieldError:
    """One cause of a refusal.

    `field` is the path as Kubernetes prints it (`spec.scorers[0].name`, `<nil>` for the object itself), `reason` the
    cause's type, `message` the cause's text without the field, e.g. `Invalid value: 0: must be at least 1`.
    `UnknownField` is ours: Kubernetes answers an unknown field of a strict request with 400 and no cause.
    """

    field: str
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"

    def cause(self) -> dict[str, str]:
        """The entry of `details.causes`."""
        return {"field": self.field, "message": self.message, "reason": self.reason}


def quoted(value: Any) -> str:
    """`value` as Kubernetes prints a bad value: strings quoted, everything else compact JSON as Go writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, dict | list):
        for char in "<>&":
            text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(field, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {quoted(value)}: {detail}")


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(field, "FieldValueTypeInvalid", f"Invalid value: {quoted(value)}: {detail}")


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {detail}")


def not_supported(field: str, value: Any, allowed: Iterable[Any]) -> FieldError:
    values = ", ".join(quoted(item) for item in allowed)
    detail = f"Unsupported value: {quoted(value)}" + (f": supported values: {values}" if values else "")
    return FieldError(field, "FieldValueNotSupported", detail)


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {quoted(value)}")


def too_long(field: str, most: int) -> FieldError:
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")


def too_many(field: str, actual: int, most: int) -> FieldError:
    return FieldError(field, "FieldValueTooMany", f"Too many: {actual}: must have at most {most} items")


def child(path: str, name: str) -> str:
    """The path of property `name` of the object at `path` ('' or `<nil>` is the root)."""
    return name if path in ("", NO_FIELD) else f"{path}.{name}"


def index(path: str, position: int | str) -> str:
    """The path of an item of the list at `path`."""
    return f"{path}[{position}]"


def in_message(errors: Iterable[FieldError]) -> str:
    """The errors as they stand in a Status' message: bare if one, bracketed if several."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
