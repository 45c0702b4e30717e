"""From a protobuf message to the plain values that its JSON form would give."""

from __future__ import annotations

import base64
import datetime as dt
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from selm_local.apiserver import builtin
from selm_local.apiserver.protobuf.fields import TABLE
from selm_local.apiserver.storage import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_API, _MACHINERY = "io.k8s.api.", "io.k8s.apimachinery.pkg."
_META = _MACHINERY + "apis.meta.v1."
_SCALARS = frozenset({"string", "bytes", "bool", "int32", "int64", "double", "float", "uint32", "uint64"})
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 60
# Where the JSON name is not the protobuf name.
_RENAMED = {"uID": "uid"}
# Messages that wrap a list, which JSON has bare.
_LISTS = ("AttestationValue", "ExtraValue")


class MalformedProtobuf(ValueError):
    """The bytes are no such message; the text says why."""


@dataclass(frozen=True)
class _Field:
    name: str
    kind: str
    optional: bool
    inline: bool
    repeated: bool
    mapped: bool


@cache
def _messages() -> dict[str, dict[int, _Field]]:
    found: dict[str, dict[int, _Field]] = {}
    for line in TABLE.splitlines():
        name, *entries = line.replace("a/", _API).replace("m/", _MACHINERY).split(" ")
        fields: dict[int, _Field] = {}
        for entry in entries:
            number, _, rest = entry.partition("=")
            marked, _, kind = rest.partition(":")
            fields[int(number)] = _Field(
                name=_RENAMED.get(marked.lstrip("*~"), marked.lstrip("*~")),
                kind=kind.removeprefix("[]").removeprefix("{}"),
                optional=marked.startswith("*"),
                inline="~" in marked,
                repeated=kind.startswith("[]"),
                mapped=kind.startswith("{}"),
            )
        found[name] = fields
    return found


def decode(data: bytes) -> Object:
    """An enveloped object (runtime.Unknown) as its JSON form. Raises MalformedProtobuf."""
    if not data.startswith(_MAGIC):
        raise MalformedProtobuf("the body does not begin with the prefix of Kubernetes' protobuf")
    api_version = kind = ""
    raw = b""
    for number, value in _parts(data[len(_MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            meta = {n: v.decode() for n, v in _parts(value) if isinstance(v, bytes)}
            api_version, kind = meta.get(1, ""), meta.get(2, "")
        elif number == 2 and isinstance(value, bytes):
            raw = value
    group, _, version = api_version.rpartition("/")
    # DeleteOptions belong to every group version, under one schema.
    name = _META + kind if kind == "DeleteOptions" else builtin.definition_name(group, version, kind)
    if name is None or name not in _messages():
        raise MalformedProtobuf(f"no kind {kind!r} of {api_version!r} is known in protobuf; send JSON")
    return {"apiVersion": api_version, "kind": kind, **_message(name, raw, 0)}


def _parts(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value): whole numbers for varints, bytes for all else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise MalformedProtobuf(f"unknown wire type {wire} at byte {at}")
        if at + size > len(data):
            raise MalformedProtobuf(f"the message ends within a field at byte {at}")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, at
        shift += 7
    raise MalformedProtobuf(f"a number does not end at byte {at}")


def _message(name: str, data: bytes, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise MalformedProtobuf("nested too deep")
    special = _special(name, data)
    if special is not None:
        return special[0]
    if name.endswith(_LISTS):
        return [_value("string", v, depth) for n, v in _parts(data) if n == 1]
    fields = _messages()[name]
    result: Object = {}
    for number, value in _parts(data):
        field = fields.get(number)
        if field is None:
            continue  # a newer client's field, which this version of the API does not have
        if field.mapped:
            entry = dict(_parts(_bytes(value)))
            key = _bytes(entry.get(1, b"")).decode()
            result.setdefault(field.name, {})[key] = _value(field.kind, entry.get(2, b""), depth)
        elif field.repeated:
            result.setdefault(field.name, []).append(_value(field.kind, value, depth))
        else:
            found = _value(field.kind, value, depth)
            if field.inline:
                result |= found
            elif field.optional or found not in ("", 0, False, {}, None):
                # A field that cannot be unset is always sent; its zero is what JSON leaves out.
                result[field.name] = found
    return result


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise MalformedProtobuf("a number stands where a string or message belongs")
    return value


def _value(kind: str, value: int | bytes, depth: int) -> Any:
    match kind:
        case "string":
            try:
                return _bytes(value).decode()
            except UnicodeDecodeError as e:
                raise MalformedProtobuf(f"a string is not UTF-8: {e}") from None
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case "bool":
            return bool(value)
        case "int32" | "int64" | "uint32" | "uint64":
            if not isinstance(value, int):
                raise MalformedProtobuf("bytes stand where a number belongs")
            return value - 2**64 if value >= 2**63 else value
        case "double" | "float":
            return struct.unpack("<d" if kind == "double" else "<f", _bytes(value))[0]
    return _message(kind, _bytes(value), depth + 1)


def _special(name: str, data: bytes) -> tuple[Any] | None:
    """The value of a type whose JSON form is not an object, in a tuple."""
    match name.rsplit(".", 1)[-1]:
        case "Time" | "MicroTime" if name.startswith(_META):
            return (_time(data, micro=name.endswith("MicroTime")),)
        case "Quantity":
            return ("".join(_bytes(v).decode() for n, v in _parts(data) if n == 1),)
        case "IntOrString":
            found = dict(_parts(data))
            if found.get(1, 0):
                return (_bytes(found.get(3, b"")).decode(),)
            return (_value("int32", found.get(2, 0), 0),)
        case "RawExtension" | "FieldsV1":
            raw = b"".join(_bytes(v) for n, v in _parts(data) if n == 1)
            try:
                return (json.loads(raw) if raw else None,)
            except ValueError as e:
                raise MalformedProtobuf(f"{name}: {e}") from None
    return None


def _time(data: bytes, *, micro: bool) -> str | None:
    found = dict(_parts(data))
    if not found:
        return None
    seconds, nanos = _value("int64", found.get(1, 0), 0), _value("int32", found.get(2, 0), 0)
    when = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds, microseconds=nanos // 1000)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
