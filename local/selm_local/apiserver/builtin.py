"""Schemas of Kubernetes' own kinds, and the decoder that reads bodies by them.

The schemas are those that Kubernetes publishes, as the package `kubernetes-validate` carries them. Decoding follows
Go's: null is absent, a field that the kind does not have is dropped and reported, a value of a wrong type is an error
with the field's path, a time is checked and written in its canonical form.
"""

# ruff: noqa: ARG001 - decoders share one signature
from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from selm_local.apiserver.storage import Object
from selm_local.quantity import canonical

RELEASE = "v1.36.0"
_PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_GO_TYPES = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)")
# (value, path, unknown) -> decoded value
Decoder = Callable[[Any, str, list[str]], Any]


class DecodeError(Exception):
    """The body cannot be read as its kind."""


@cache
def definitions() -> dict[str, Any]:
    """All published schemas by their full name (io.k8s.api.batch.v1.Job)."""
    # Only the package's data is wanted: importing it would bring its own dependencies.
    path = f"kubernetes_validate/kubernetes-json-schema/{RELEASE}-local/_definitions.json"
    file = Path(str(distribution("kubernetes-validate").locate_file(path)))
    found: dict[str, Any] = json.loads(file.read_text())["$defs"]
    return found


@cache
def _names_by_kind() -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for name, schema in definitions().items():
        kinds = schema.get("x-kubernetes-group-version-kind") or []
        # Types like DeleteOptions belong to every group; they are no kind of a resource.
        if len(kinds) == 1:
            found[kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]] = name
    return found


def definition_name(group: str, version: str, kind: str) -> str | None:
    """The full name of a kind's schema."""
    return _names_by_kind().get((group, version, kind))


@cache
def decoder(name: str) -> Callable[[Object], tuple[Object, list[str]]]:
    """Decodes objects by the schema of this full name: (object, unknown fields). Raises DecodeError."""
    decode = _of_reference(name)

    def read(obj: Object) -> tuple[Object, list[str]]:
        unknown: list[str] = []
        return decode(obj, "", unknown), unknown

    return read


@cache
def _of_reference(name: str) -> Decoder:
    match name.removeprefix(_META):
        case "Time":
            return _time
        case "MicroTime":
            return _micro_time
    match name.rsplit(".", 1)[-1]:
        case "Quantity":
            return _quantity
        case "IntOrString":
            return _int_or_string
        case "JSON" | "RawExtension" | "FieldsV1" | "JSONSchemaPropsOrStringArray":
            return _anything
        case "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray":
            return _schema_or_other
    # Types refer to themselves (JSONSchemaProps): the real decoder is made at the first use.
    made: list[Decoder] = []

    def decode(value: Any, path: str, unknown: list[str]) -> Any:
        if not made:
            made.append(_compile(definitions()[name]))
        return made[0](value, path, unknown)

    return decode


def _compile(schema: dict[str, Any]) -> Decoder:
    if "$ref" in schema:
        return _of_reference(schema["$ref"].removeprefix("#/$defs/"))
    kinds = schema.get("type")
    kind = kinds if isinstance(kinds, str) or kinds is None else next(k for k in kinds if k != "null")
    match kind:
        case "object":
            if schema.get("properties"):
                return _object({k: _compile(v) for k, v in schema["properties"].items()})
            if isinstance(schema.get("additionalProperties"), dict):
                return _map(_compile(schema["additionalProperties"]))
            return _typed(dict, "map[string]interface {}")
        case "array":
            return _list(_compile(schema["items"]))
        case "string":
            return _bytes if schema.get("format") == "byte" else _typed(str, "string")
        case "integer":
            return _integer(schema.get("format", "int64"))
        case "number":
            return _number
        case "boolean":
            return _typed(bool, "bool")
    return _anything


def _wrong(value: Any, path: str, wanted: str) -> DecodeError:
    found = _GO_TYPES.get(type(value), type(value).__name__)
    shown = f"{found} {value}" if found == "number" else found
    return DecodeError(f"json: cannot unmarshal {shown} into Go struct field {path or '.'} of type {wanted}")


def _object(fields: dict[str, Decoder]) -> Decoder:
    def decode(value: Any, path: str, unknown: list[str]) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, path, "struct")
        result: Object = {}
        for key, inner in value.items():
            here = f"{path}.{key}" if path else key
            field = fields.get(key)
            if field is None:
                unknown.append(here)
            elif inner is not None:
                result[key] = field(inner, here, unknown)
        return result

    return decode


def _map(item: Decoder) -> Decoder:
    def decode(value: Any, path: str, unknown: list[str]) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, path, "map[string]")
        return {k: item(v, f"{path}.{k}", unknown) for k, v in value.items() if v is not None}

    return decode


def _list(item: Decoder) -> Decoder:
    def decode(value: Any, path: str, unknown: list[str]) -> Any:
        if not isinstance(value, list):
            raise _wrong(value, path, "[]")
        return [item(v, f"{path}[{i}]", unknown) for i, v in enumerate(value) if v is not None]

    return decode


def _typed(wanted: type, go_name: str) -> Decoder:
    def decode(value: Any, path: str, unknown: list[str]) -> Any:
        if not isinstance(value, wanted):
            raise _wrong(value, path, go_name)
        return value

    return decode


def _integer(form: str) -> Decoder:
    bits = 31 if form == "int32" else 63
    low, high = -(2**bits), 2**bits - 1

    def decode(value: Any, path: str, unknown: list[str]) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _wrong(value, path, form)
        return value

    return decode


def _number(value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(value, path, "float64")
    return value


def _bytes(value: Any, path: str, unknown: list[str]) -> Any:
    if not isinstance(value, str):
        raise _wrong(value, path, "[]uint8")
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError(f"illegal base64 data in {path}") from None
    return value


def _anything(value: Any, path: str, unknown: list[str]) -> Any:
    return value


def _schema_or_other(value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, dict):
        return _of_reference(_PROPS)(value, path, unknown)
    return value


def _quantity(value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(value, path, "resource.Quantity")
    return canonical(value if isinstance(value, str) else json.dumps(value))


def _int_or_string(value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _wrong(value, path, "intstr.IntOrString")
    return value


def _parse_time(value: Any, path: str) -> dt.datetime:
    if not isinstance(value, str):
        raise _wrong(value, path, "string")
    refused = DecodeError(f'{path}: parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}"')
    if not _TIME.fullmatch(value):
        raise refused
    try:
        return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
    except ValueError:
        raise refused from None


def _time(value: Any, path: str, unknown: list[str]) -> Any:
    return _parse_time(value, path).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(value: Any, path: str, unknown: list[str]) -> Any:
    return _parse_time(value, path).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
