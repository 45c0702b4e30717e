"""What a CRD's schema may say, node by node, beyond being structural; and that its defaults are valid.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go
(ValidateCustomResourceDefinitionOpenAPISchema) and pkg/apiserver/schema/defaulting/validation.go.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Final

from selm_local.apiserver.schema import errors, fieldpath, pruning, values
from selm_local.apiserver.schema.cel.rules import RuleNode, RuleSet
from selm_local.apiserver.schema.errors import NO_FIELD, FieldError, child
from selm_local.apiserver.schema.jsonvalue import json_equal
from selm_local.apiserver.schema.node import ABSENT, Node

Schema = dict[str, Any]
TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_UNSUPPORTED: Final = (
    "id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref",
)  # fmt: skip
_META: Final = ("metadata", "kind", "apiVersion")


def check(schema: Schema, path: str) -> list[FieldError]:
    """Errors of the schema at `path`, a root, and of all beneath it (its CEL rules' texts too, not their meaning)."""
    return list(_check(schema, path, is_root=True, no_default=""))


def _check(
    schema: Schema, path: str, *, is_root: bool = False, no_default: str = "", in_meta: bool = False
) -> Iterator[FieldError]:
    """`no_default`: why nothing at or beneath this node may have a default; `in_meta`: within a resource's metadata."""
    yield from _node(schema, path, no_default, in_meta)
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    if additional is not None and properties and additional is not True:
        text = "additionalProperties and properties are mutual exclusive"
        yield errors.forbidden(f"{path}.additionalProperties", text)
    if isinstance(additional, dict):
        beneath = no_default or ("inside additionalProperties applying to object metadata" if in_meta else "")
        yield from _check(additional, f"{path}.additionalProperties", no_default=beneath, in_meta=in_meta)
    for name, property_ in properties.items():
        meta = in_meta or ((is_root or bool(schema.get("x-kubernetes-embedded-resource"))) and name in _META)
        beneath = no_default or (f"in top-level {name}" if is_root and name in _META else "")
        yield from _check(property_, f"{path}.properties[{name}]", no_default=beneath, in_meta=meta)
    if isinstance(schema.get("not"), dict):
        yield from _check(schema["not"], f"{path}.not", no_default=no_default, in_meta=in_meta)
    for junctor in ("allOf", "oneOf", "anyOf"):
        for i, each in enumerate(schema.get(junctor) or []):
            yield from _check(each, f"{path}.{junctor}[{i}]", no_default=no_default, in_meta=in_meta)
    if isinstance(schema.get("items"), dict):
        yield from _check(schema["items"], f"{path}.items", no_default=no_default, in_meta=in_meta)
    yield from _kinds_of_lists(schema, path)
    yield from _list_map(schema, path)
    for i, rule in enumerate(schema.get("x-kubernetes-validations") or []):
        yield from _rule_text(schema, rule, f"{path}.x-kubernetes-validations[{i}]")


def _node(schema: Schema, path: str, no_default: str, in_meta: bool) -> Iterator[FieldError]:
    type_ = schema.get("type") or ""
    if type_ == "null":
        yield errors.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if type_ and type_ not in TYPES:
        yield errors.not_supported(f"{path}.type", type_, TYPES)
    if schema.get("default") is not None and no_default:
        yield errors.forbidden(f"{path}.default", f"must not be set {no_default}")
    for name in _UNSUPPORTED:
        if schema.get(name):
            yield errors.forbidden(f"{path}.{name}", f"{name} is not supported")
    if isinstance(schema.get("items"), list):
        yield errors.forbidden(f"{path}.items", "items must be a schema object and not an array")
    if in_meta and schema.get("x-kubernetes-embedded-resource"):
        yield errors.forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield errors.forbidden(f"{path}.uniqueItems", text)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield errors.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")


def _kinds_of_lists(schema: Schema, path: str) -> Iterator[FieldError]:
    type_ = schema.get("type") or ""
    map_type, list_type = schema.get("x-kubernetes-map-type"), schema.get("x-kubernetes-list-type")
    for extension, value, wanted, allowed in (
        ("x-kubernetes-map-type", map_type, "object", ("atomic", "granular")),
        ("x-kubernetes-list-type", list_type, "array", ("atomic", "set", "map")),
    ):
        if value is None:
            continue
        if type_ != wanted:
            text = f"must be {wanted} if {extension} is specified"
            yield errors.invalid(f"{path}.type", type_, text) if type_ else errors.required(f"{path}.type", text)
        if value not in allowed:
            yield errors.not_supported(f"{path}.{extension}", value, allowed)
    items = schema.get("items")
    if list_type in ("set", "map") and isinstance(items, dict) and items.get("nullable"):
        yield errors.forbidden(
            f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        )
    if list_type == "set" and type_ == "array" and isinstance(items, dict):
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        inner = items.get("x-kubernetes-list-type")
        if items.get("type") == "array" and inner not in (None, "atomic"):
            yield errors.invalid(f"{path}.items.x-kubernetes-list-type", inner, text)
        if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
            yield errors.invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), text)


def _list_map(schema: Schema, path: str) -> Iterator[FieldError]:
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if keys and list_type != "map":
        where, text = f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty"
        yield errors.required(where, text) if list_type is None else errors.invalid(where, list_type, text)
    if list_type != "map":
        return
    where, items = f"{path}.x-kubernetes-list-map-keys", schema.get("items")
    if not keys:
        yield errors.required(where, "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield errors.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield errors.invalid(f"{path}.items.type", items.get("type") or "", text)
        return
    properties = items.get("properties") or {}
    for i, key in enumerate(keys):
        if key in keys[:i]:
            yield errors.invalid(where, keys, "must not contain duplicate entries")
        if key not in properties:
            yield errors.invalid(where, keys, "entries must all be names of item properties")
            continue
        of_key, key_path = properties[key], f"{path}.items.properties[{key}]"
        if of_key.get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield errors.invalid(f"{key_path}.type", of_key["type"], text)
        because = "this property is in x-kubernetes-list-map-keys, so it"
        if key not in (items.get("required") or []) and of_key.get("default") is None:
            yield errors.required(f"{key_path}.default", f"{because} must have a default or be a required property")
        if of_key.get("nullable"):
            yield errors.forbidden(f"{key_path}.nullable", f"{because} cannot be nullable")


def _rule_text(schema: Schema, rule: dict[str, Any], path: str) -> Iterator[FieldError]:
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    expression, field_path, reason = (
        rule.get("messageExpression") or "",
        rule.get("fieldPath") or "",
        rule.get("reason"),
    )
    if not text:
        yield errors.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        yield errors.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif re.search(r"[\r\n]", message.strip()):
        yield errors.invalid(f"{path}.message", message, "message must not contain line breaks")
    elif re.search(r"[\r\n]", text) and not message.strip():
        yield errors.required(f"{path}.message", "message must be specified if rule contains line breaks")
    if expression and not expression.strip():
        yield errors.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if reason is not None and reason not in REASONS:
        yield errors.not_supported(f"{path}.reason", reason, REASONS)
    if not field_path:
        return
    if not field_path.strip():
        yield errors.invalid(f"{path}.fieldPath", field_path, "must be non-empty if specified")
    elif re.search(r"[\r\n]", field_path):
        yield errors.invalid(f"{path}.fieldPath", field_path, "must not contain line breaks")
    else:
        try:
            fieldpath.resolve(field_path, Node.parse(schema))
        except ValueError:
            yield errors.invalid(f"{path}.fieldPath", field_path, "must be a valid path")


def check_defaults(root: Node, rules: RuleSet, path: str) -> list[FieldError]:
    """Errors of all defaults beneath a structural root: unknown fields, values and rules that they break."""
    return list(_defaults(dataclasses.replace(root, embedded=True), rules, rules.root, path, in_meta=False))


def _defaults(node: Node, rules: RuleSet, at: RuleNode | None, path: str, *, in_meta: bool) -> Iterator[FieldError]:
    in_meta = in_meta and not node.embedded
    if node.default is not ABSENT and not in_meta:
        yield from _default(node, rules, at, f"{path}.default")
    if node.items is not None:
        yield from _defaults(node.items, rules, at and at.items, f"{path}.items", in_meta=in_meta)
    for name, schema in node.properties.items():
        meta = in_meta or (node.embedded and name in _META)
        below = at.properties.get(name) if at is not None else None
        yield from _defaults(schema, rules, below, f"{path}.properties[{name}]", in_meta=meta)


def _default(node: Node, rules: RuleSet, at: RuleNode | None, path: str) -> Iterator[FieldError]:
    pruned, _ = pruning.prune(node, node.default, is_root=node.embedded)
    if not json_equal(pruned, node.default):
        yield errors.invalid(path, node.default, "must not have unknown fields")
    found = values.validate(node, node.default)
    if not found and at is not None:
        found = rules.validate_default(at, node.default)
    for error in found:
        yield dataclasses.replace(error, field=path if error.field == NO_FIELD else child(path, error.field))
