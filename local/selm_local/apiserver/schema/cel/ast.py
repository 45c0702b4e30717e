"""The syntax trees that the CEL library serialises: cel.expr.CheckedExpr and ParsedExpr.

Source: https://github.com/cel-expr/cel-spec, proto/cel/expr/{syntax,checked}.proto. Only the fields used here are
declared; the others survive as unknown fields.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE: Final = "cel.expr"
_SCALARS: Final = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64,
    "int32": _Field.TYPE_INT32,
    "uint64": _Field.TYPE_UINT64,
    "double": _Field.TYPE_DOUBLE,
}
# Message -> "field:number:type" entries; "*" repeats, "?" belongs to the message's one oneof, "map" is a map by int64.
_MESSAGES: Final[dict[str, str]] = {
    "CheckedExpr": "reference_map:2:map Reference, type_map:3:map Type, expr:4:Expr, source_info:5:Empty",
    "ParsedExpr": "expr:2:Expr, source_info:3:Empty",
    "Reference": "name:1:string, overload_id:3:*string",
    "Empty": "",
    "Type": (
        "dyn:1:?Empty, null:2:?int32, primitive:3:?int32, wrapper:4:?int32, well_known:5:?int32, list_type:6:?ListType,"
        " map_type:7:?MapType, message_type:9:?string, type_param:10:?string, type:11:?Type, error:12:?Empty,"
        " abstract_type:14:?AbstractType"
    ),
    "ListType": "elem_type:1:Type",
    "MapType": "key_type:1:Type, value_type:2:Type",
    "AbstractType": "name:1:string, parameter_types:2:*Type",
    "Expr": (
        "id:2:int64, const_expr:3:?Constant, ident_expr:4:?Ident, select_expr:5:?Select, call_expr:6:?Call,"
        " list_expr:7:?CreateList, struct_expr:8:?CreateStruct, comprehension_expr:9:?Comprehension"
    ),
    "Constant": (
        "null_value:1:?int32, bool_value:2:?bool, int64_value:3:?int64, uint64_value:4:?uint64, double_value:5:?double,"
        " string_value:6:?string, bytes_value:7:?bytes"
    ),
    "Ident": "name:1:string",
    "Select": "operand:1:Expr, field:2:string, test_only:3:bool",
    "Call": "target:1:Expr, function:2:string, args:3:*Expr",
    "CreateList": "elements:1:*Expr, optional_indices:2:*int32",
    "CreateStruct": "message_name:1:string, entries:2:*Entry",
    "Entry": "id:1:int64, field_key:2:?string, map_key:3:?Expr, value:4:Expr, optional_entry:5:bool",
    "Comprehension": (
        "iter_var:1:string, iter_range:2:Expr, accu_var:3:string, accu_init:4:Expr, loop_condition:5:Expr,"
        " loop_step:6:Expr, result:7:Expr, iter_var2:8:string"
    ),
}

BOOL, INT64, UINT64, DOUBLE, STRING, BYTES = range(1, 7)
"""Type.PrimitiveType."""
ANY, TIMESTAMP, DURATION = range(1, 4)
"""Type.WellKnownType."""


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="cel_expr.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if "?" in fields:
            message.oneof_decl.add(name="kind")
        for spec in filter(None, (part.strip() for part in fields.split(","))):
            field, number, type_name = spec.split(":")
            entry = message.field.add(name=field, number=int(number), label=_Field.LABEL_OPTIONAL)
            if type_name.startswith("map "):
                _map(message, entry, type_name.removeprefix("map "))
                continue
            if type_name[0] == "*":
                entry.label = _Field.LABEL_REPEATED
            elif type_name[0] == "?":
                entry.oneof_index = 0
            _type(entry, type_name.lstrip("*?"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _type(entry: Any, type_name: str) -> None:
    if type_name in _SCALARS:
        entry.type = _SCALARS[type_name]
    else:
        entry.type, entry.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{type_name}"


def _map(message: Any, entry: Any, type_name: str) -> None:
    name = "".join(part.capitalize() for part in entry.name.split("_")) + "Entry"
    nested = message.nested_type.add(name=name)
    nested.options.map_entry = True
    nested.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_INT64)
    _type(nested.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), type_name)
    entry.label, entry.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
    entry.type_name = f".{_PACKAGE}.{message.name}.{name}"


_CLASSES: Final = _build()
Expr = Any
"""A cel.expr.Expr message."""


def checked(serialized: bytes) -> Any:
    """The CheckedExpr of a type-checked expression's `serialize()`."""
    return _unpack("CheckedExpr", serialized)


def parsed(serialized: bytes) -> Any:
    """The ParsedExpr of an unchecked expression's `serialize()`."""
    return _unpack("ParsedExpr", serialized)


def _unpack(name: str, serialized: bytes) -> Any:
    wrapped = any_pb2.Any.FromString(serialized)
    if not wrapped.type_url.endswith(f"/{_PACKAGE}.{name}"):
        raise TypeError(f"expected a {name}, found {wrapped.type_url}")
    return _CLASSES[name].FromString(wrapped.value)


def pack(message: Message) -> bytes:
    """What the CEL library deserialises."""
    name = message.DESCRIPTOR.full_name
    return any_pb2.Any(type_url=f"type.googleapis.com/{name}", value=message.SerializeToString()).SerializeToString()


def new_expr() -> Expr:
    return _CLASSES["Expr"]()


def kind(expr: Expr) -> str:
    """const_expr, ident_expr, select_expr, call_expr, list_expr, struct_expr, comprehension_expr, or ''."""
    return expr.WhichOneof("kind") or ""


def is_bind(expr: Expr) -> bool:
    """Whether a comprehension is what `cel.bind(name, value, expression)` expands to."""
    loop = expr.comprehension_expr
    return (
        kind(loop.iter_range) == "list_expr"
        and not loop.iter_range.list_expr.elements
        and kind(loop.loop_condition) == "const_expr"
        and loop.loop_condition.const_expr.WhichOneof("kind") == "bool_value"
        and not loop.loop_condition.const_expr.bool_value
        and loop.accu_var not in ("__result__", "@result")
    )


def children(expr: Expr) -> list[Expr]:
    """The expressions directly beneath `expr`."""
    which = kind(expr)
    if which == "select_expr":
        return [expr.select_expr.operand]
    if which == "call_expr":
        call = expr.call_expr
        return ([call.target] if call.HasField("target") else []) + list(call.args)
    if which == "list_expr":
        return list(expr.list_expr.elements)
    if which == "struct_expr":
        entries = expr.struct_expr.entries
        return [e for entry in entries for e in ([entry.map_key] if entry.HasField("map_key") else []) + [entry.value]]
    if which == "comprehension_expr":
        loop = expr.comprehension_expr
        return [loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result]
    return []


def mentions(expr: Expr, name: str) -> bool:
    """Whether an identifier `name` stands anywhere in `expr`."""
    if kind(expr) == "ident_expr" and expr.ident_expr.name == name:
        return True
    return any(mentions(each, name) for each in children(expr))
