"""Protobuf messages that stand for a schema's objects, so that the CEL compiler checks the fields a rule reads."""

from __future__ import annotations

from typing import Any

from cel_expr_python import cel
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

from selm_local.apiserver.schema.cel.decltype import DeclType, Kind

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "selfType"
_SCALARS: dict[Kind, Any] = {
    "bool": _Field.TYPE_BOOL,
    "int": _Field.TYPE_INT64,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}
_WELL_KNOWN: dict[Kind, str] = {
    "timestamp": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
    "dyn": ".google.protobuf.Value",
}
_CEL_SCALARS: dict[Kind, cel.Type] = {
    "bool": cel.Type.BOOL,
    "int": cel.Type.INT,
    "double": cel.Type.DOUBLE,
    "string": cel.Type.STRING,
    "bytes": cel.Type.BYTES,
    "timestamp": cel.Type.TIMESTAMP,
    "duration": cel.Type.DURATION,
    "dyn": cel.Type.DYN,
}


class Messages:
    """One message for each object type beneath a root type; `pool` holds them for an environment.

    A list within a list, or a list or map as the value of a map, cannot be a protobuf field; a rule sees `dyn` there,
    so that a type error in it appears when the rule runs, not when the CRD is admitted.
    """

    def __init__(self, root: DeclType, opaque: tuple[str, ...]) -> None:
        """`opaque`: full names of types without fields that rules may pass about."""
        self._file = descriptor_pb2.FileDescriptorProto(name="schema.proto", package=_PACKAGE, syntax="proto3")
        self._names: dict[int, str] = {}
        self._types: dict[str, DeclType] = {}
        self._keep = root  # ids of types are keys
        self._declare(root)
        self.pool = descriptor_pool.DescriptorPool()
        for module in (any_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2):
            known = descriptor_pb2.FileDescriptorProto()
            module.DESCRIPTOR.CopyToProto(known)
            self.pool.Add(known)
            self._file.dependency.append(known.name)
        for package in sorted({name.rpartition(".")[0] for name in opaque}):
            names = [name.rpartition(".")[2] for name in opaque if name.rpartition(".")[0] == package]
            others = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
            others.message_type.extend(descriptor_pb2.DescriptorProto(name=name) for name in names)
            self.pool.Add(others)
        self.pool.Add(self._file)

    def type_of(self, declared: DeclType) -> cel.Type:
        """The CEL type of a declared type beneath the root."""
        if declared.kind == "list" and declared.elem is not None:
            return cel.Type.List(self.type_of(declared.elem))
        if declared.kind == "map" and declared.elem is not None:
            return cel.Type.Map(cel.Type.STRING, self.type_of(declared.elem))
        if declared.kind == "object":
            return cel.Type(f"{_PACKAGE}.{self._names[id(declared)]}")
        return _CEL_SCALARS[declared.kind]

    def declared(self, message: str) -> DeclType | None:
        """The declared type that message type `message` stands for."""
        return self._types.get(message)

    def _declare(self, declared: DeclType) -> str:
        """Adds the messages of `declared` and all beneath it; the message's name where it is an object."""
        if declared.elem is not None:
            return self._declare(declared.elem)
        if declared.kind != "object":
            return ""
        name = f"T{len(self._names)}"
        self._names[id(declared)] = name
        self._types[f"{_PACKAGE}.{name}"] = declared
        message = self._file.message_type.add(name=name)
        for number, (identifier, field) in enumerate(declared.fields.items(), start=1):
            # Numbers 19000 to 19999 are protobuf's own.
            number = number if number < 19000 else number + 1000
            entry = message.field.add(name=identifier, number=number, json_name=f"f{number}")
            entry.label = _Field.LABEL_OPTIONAL
            self._field(message, entry, field)
        for field in declared.hidden.values():
            self._declare(field)
        return name

    def _field(self, message: Any, entry: Any, declared: DeclType) -> None:
        elem = declared.elem
        if elem is not None:
            self._declare(elem)
        if declared.kind == "list" and elem is not None:
            if elem.elem is not None:
                entry.type, entry.type_name = _Field.TYPE_MESSAGE, ".google.protobuf.ListValue"
            else:
                entry.label = _Field.LABEL_REPEATED
                self._single(entry, elem)
        elif declared.kind == "map" and elem is not None:
            if elem.elem is not None:
                entry.type, entry.type_name = _Field.TYPE_MESSAGE, ".google.protobuf.Struct"
            else:
                self._map_entry(message, entry, elem)
        else:
            if declared.kind == "object":
                self._declare(declared)
            self._single(entry, declared)

    def _single(self, entry: Any, declared: DeclType) -> None:
        scalar = _SCALARS.get(declared.kind)
        if scalar is not None:
            entry.type = scalar
            return
        entry.type = _Field.TYPE_MESSAGE
        known = _WELL_KNOWN.get(declared.kind)
        entry.type_name = known or f".{_PACKAGE}.{self._names[id(declared)]}"

    def _map_entry(self, message: Any, entry: Any, elem: DeclType) -> None:
        name = _camel(entry.name) + "Entry"
        if any(nested.name == name for nested in message.nested_type):  # `a_b` beside `aB`
            entry.type, entry.type_name = _Field.TYPE_MESSAGE, ".google.protobuf.Struct"
            return
        nested = message.nested_type.add(name=name)
        nested.options.map_entry = True
        nested.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        self._single(nested.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), elem)
        entry.label, entry.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        entry.type_name = f".{_PACKAGE}.{message.name}.{name}"


def _camel(name: str) -> str:
    """As protobuf names the entry of a map field: first letters after underscores capital, nothing else changed."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
