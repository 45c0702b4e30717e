"""What the API's models are made of: the base classes, the scalar types, and the marks that fields carry.

A mark is an object in a field's `Annotated` metadata. Marks say what pydantic cannot: how the field may change
(`Change`) and how a list merges (`ListMap`, `ListSet`, `Atomic`). The CRD, the documentation and the validators
read them, so that each is said once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AllowInfNan,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

GROUP = "selm.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SELMRun"
PLURAL = "selmruns"

MAX_ITERATIONS = 50
MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""
MAX_INT32 = 2**31 - 1


class Change(StrEnum):
    """How a field may change once the run exists; the value is the sentence that descriptions end with."""

    IMMUTABLE = "Immutable."
    SUSPENDED = "Mutable while suspended."
    ALWAYS = "Mutable."
    GROWING = "May grow where data.portions is set."
    SCHEDULED = "Entries of iterations that have begun are immutable, the others mutable."
    KEYED = "The set of entries is immutable."


@dataclass(frozen=True)
class AbsentMeans:
    """The value that an absent field stands for where a default cannot be stored.

    Items of lists get no defaults in the CRD: every client-side apply would say "configured".
    """

    value: float | bool | str | int


@dataclass(frozen=True)
class Default:
    """What an absent field stands for, in words, where it is no constant."""

    words: str


class ListKind:
    """How entries of a list are told apart (`x-kubernetes-list-type`)."""


@dataclass(frozen=True)
class ListMap(ListKind):
    """Entries are told apart by one field; equality ignores their order."""

    key: str


@dataclass(frozen=True)
class ListSet(ListKind):
    """Scalar entries, each at most once; equality ignores their order."""


@dataclass(frozen=True)
class Atomic(ListKind):
    """The list is replaced as a whole; order matters."""


class ApiModel(BaseModel):
    """camelCase on the wire, nothing unknown, nothing mutable; a null is an absent field, as in the API server."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()} | cls.model_fields.keys()
        return {key: value for key, value in data.items() if value is not None or key not in known}


class SpecModel(ApiModel):
    """A group of the spec: read from users, so by its camelCase names alone."""


class StatusModel(ApiModel):
    """A group of the status: made by the operator too, so Python names construct it as well."""

    model_config = ConfigDict(populate_by_name=True)


def _whole_number(value: Any) -> Any:
    """JSON has one kind of number: 1.0 is an integer, 1.5 is none, true is none."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
        return int(value)
    return value


def _quantity(value: Any) -> int | str:
    value = _whole_number(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("int_or_string_type", "Input should be a valid integer or string")
    if isinstance(value, str) and not re.fullmatch(QUANTITY_PATTERN, value):
        raise PydanticCustomError(
            "string_pattern_mismatch",
            "Input should match pattern '{pattern}'",
            {"pattern": QUANTITY_PATTERN},
        )
    return value


def _without_nulls(value: Any) -> Any:
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _utc_seconds(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(microsecond=0)


def rfc3339(value: datetime) -> str:
    """The form of `metav1.Time`: UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Int = Annotated[int, Strict(), BeforeValidator(_whole_number)]
Tokens = Annotated[Int, Field(ge=1, le=1_048_576)]
Iteration = Annotated[Int, Field(ge=1, le=MAX_ITERATIONS)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Bool = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]

# \S of Go's regular expressions is ASCII's; written out, so that every engine reads the patterns alike.
_NO_SPACE = r"[^ \t\n\f\r]"
_NO_SPACE_NO_SLASH = r"[^/ \t\n\f\r]"
SOURCE_PATTERN = (
    rf"^(hf://{_NO_SPACE_NO_SLASH}{_NO_SPACE}*|s3://{_NO_SPACE_NO_SLASH}+/{_NO_SPACE}+|file:///{_NO_SPACE}+)$"
)
STORE_PATTERN = rf"^(s3://{_NO_SPACE_NO_SLASH}+(/{_NO_SPACE}*)?|file:///{_NO_SPACE}+)$"
FILE_PATTERN = rf"^(s3://{_NO_SPACE_NO_SLASH}+/{_NO_SPACE}+|file:///{_NO_SPACE}+)$"
_OCI_NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_OCI_PATTERN = (
    rf"oci://[a-zA-Z0-9][-.a-zA-Z0-9]*(:[0-9]+)?/{_OCI_NAME}(/{_OCI_NAME})*(:[a-zA-Z0-9_][-.a-zA-Z0-9_]{{0,127}})?"
)
TARGET_PATTERN = rf"^(hf://{_NO_SPACE_NO_SLASH}+/{_NO_SPACE_NO_SLASH}+|s3://{_NO_SPACE_NO_SLASH}+/{_NO_SPACE}+|file:///{_NO_SPACE}+|{_OCI_PATTERN})$"
URL_PATTERN = rf"^https?://{_NO_SPACE}+$"
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SECRET_KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"
QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

PATTERN_WORDS = {
    SOURCE_PATTERN: "be hf://owner/name, s3://bucket/path or file:///path, without spaces",
    STORE_PATTERN: "be s3://bucket, s3://bucket/path or file:///path, without spaces",
    FILE_PATTERN: "be s3://bucket/path or file:///path, without spaces",
    TARGET_PATTERN: "be hf://owner/name, s3://bucket/path, file:///path or oci://registry/name:tag, without spaces",
    URL_PATTERN: "be a URL that begins with http:// or https://, without spaces",
    SUBDOMAIN_PATTERN: "be lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    LABEL_PATTERN: "be lower-case letters, digits and '-', with a letter or digit at both ends",
    SECRET_KEY_PATTERN: "be letters, digits, '-', '_' and '.'",
    QUANTITY_PATTERN: "be a quantity such as 8, 500m or 80Gi",
}
"""What a pattern allows, in words for messages."""

Subdomain = Annotated[Text, Field(max_length=253, pattern=SUBDOMAIN_PATTERN)]
"""A DNS subdomain: the name of most Kubernetes objects."""
Label = Annotated[Text, Field(max_length=63, pattern=LABEL_PATTERN)]
"""A DNS label."""
SourceUri = Annotated[Text, Field(max_length=1024, pattern=SOURCE_PATTERN)]
"""Where a model or data is: hf://, s3://bucket/path or file:///path."""
Revision = Annotated[Text, Field(min_length=1, max_length=128)]
Column = Annotated[Text, Field(min_length=1, max_length=253)]
Quantity = Annotated[
    int | str,
    PlainValidator(_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN}),
]
"""A resource quantity as it was written: an integer or a string."""
LabelValues = Annotated[
    dict[str, Annotated[Text, Field(max_length=63)]], BeforeValidator(_without_nulls), Field(max_length=32)
]
AnnotationValues = Annotated[
    dict[str, Annotated[Text, Field(max_length=4096)]], BeforeValidator(_without_nulls), Field(max_length=32)
]
Quantities = Annotated[dict[str, Quantity], BeforeValidator(_without_nulls), Field(max_length=16)]
Time = Annotated[
    AwareDatetime,
    AfterValidator(_utc_seconds),
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in UTC and whole seconds, as the API server stores it."""
