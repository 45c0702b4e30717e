"""Whether a schema is structural: types outside of junctors, metadata left alone, items where there is an array.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from selm_local.apiserver.schema import errors, regex
from selm_local.apiserver.schema.errors import FieldError

Level = Literal["root", "items", "field"]
Schema = dict[str, Any]

_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]
_NO_TYPE: Final = {
    "root": "must not be empty at the root",
    "items": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
# Within allOf, anyOf, oneOf and not: the field, and how it must be for the schema to be structural.
_FORBIDDEN_WITHIN: Final = (
    ("type", "must be empty"),
    ("additionalProperties", "must be undefined"),
    ("default", "must be undefined"),
    ("title", "must be empty"),
    ("description", "must be empty"),
    ("nullable", "must be false"),
    ("externalDocs", "must be undefined"),
    ("x-kubernetes-preserve-unknown-fields", "must be false"),
    ("x-kubernetes-embedded-resource", "must be false"),
    ("x-kubernetes-int-or-string", "must be false"),
    ("x-kubernetes-list-map-keys", "must be empty"),
    ("x-kubernetes-list-type", "must be undefined"),
    ("x-kubernetes-map-type", "must be undefined"),
    ("x-kubernetes-validations", "must be empty"),
)


def check(schema: Schema, path: str) -> list[FieldError]:
    """Every reason why `schema`, a root, is not structural, sorted."""
    found = {str(error): error for error in [*_invariants(schema, path, "root"), *_completeness(schema, path)]}
    return [found[text] for text in sorted(found)]


def _invariants(schema: Schema, path: str, level: Level) -> Iterator[FieldError]:
    items, properties = schema.get("items"), schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    if schema.get("type") == "array" and items is None:
        yield errors.required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _invariants(items, f"{path}.items", "items")
    for name, child in properties.items():
        yield from _invariants(child, f"{path}.properties[{name}]", "field")
    if additional is not None:
        if level == "root":
            yield errors.forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if isinstance(additional, dict):
            yield from _invariants(additional, f"{path}.additionalProperties", "field")
    yield from _extensions(schema, path)
    any_of_pattern = schema.get("anyOf") == _INT_OR_STRING
    first = (schema.get("allOf") or [{}])[0]
    yield from _value_validation(schema, path, any_of_pattern, first.get("anyOf") == _INT_OR_STRING)
    yield from _type(schema, path, level)
    if level == "root" or schema.get("x-kubernetes-embedded-resource"):
        for name in ("kind", "apiVersion"):
            if name in properties and properties[name].get("type") != "string":
                where = f"{path}.properties[{name}].type"
                yield errors.invalid(where, properties[name].get("type") or "", "must be string")
        if "metadata" in properties:
            yield from _metadata(properties["metadata"], f"{path}.properties[metadata]", level)


def _extensions(schema: Schema, path: str) -> Iterator[FieldError]:
    if not schema.get("x-kubernetes-int-or-string"):
        return
    for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if schema.get(name):
            yield errors.invalid(f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true")


def _type(schema: Schema, path: str, level: Level) -> Iterator[FieldError]:
    type_ = schema.get("type") or ""
    if schema.get("x-kubernetes-embedded-resource"):
        if type_ != "object":
            text = "must be object if x-kubernetes-embedded-resource is true"
            yield errors.invalid(f"{path}.type", type_, text) if type_ else errors.required(f"{path}.type", text)
        if schema.get("additionalProperties") is not None:
            yield errors.forbidden(
                f"{path}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set"
            )
        if not schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties"):
            text = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            yield errors.required(f"{path}.properties", text)
    elif (
        not type_
        and not schema.get("x-kubernetes-int-or-string")
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        yield errors.required(f"{path}.type", _NO_TYPE[level])
    if level == "root" and type_ and type_ != "object":
        yield errors.invalid(f"{path}.type", type_, "must be object at the root")


def _metadata(schema: Schema, path: str, level: Level) -> Iterator[FieldError]:
    if schema.get("type") != "object":
        yield errors.invalid(f"{path}.type", schema.get("type") or "", "must be object")
    if level != "root":
        return
    beyond = set(schema) - {"type", "default", "properties", "description", "required"}
    if beyond or set(schema.get("properties") or {}) - {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield errors.forbidden(path, text)


def _value_validation(
    schema: Schema, path: str, skip_any_of: bool = False, skip_first_all_of: bool = False
) -> Iterator[FieldError]:
    if not skip_any_of:
        for i, child in enumerate(schema.get("anyOf") or []):
            yield from _nested(child, f"{path}.anyOf[{i}]")
    for i, child in enumerate(schema.get("allOf") or []):
        yield from _nested(child, f"{path}.allOf[{i}]", skip_any_of=skip_first_all_of and i == 0)
    for i, child in enumerate(schema.get("oneOf") or []):
        yield from _nested(child, f"{path}.oneOf[{i}]")
    if isinstance(schema.get("not"), dict):
        yield from _nested(schema["not"], f"{path}.not")
    pattern = schema.get("pattern")
    wrong = regex.problem(pattern) if pattern else None
    if wrong is not None:
        yield errors.invalid(
            f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: error parsing regexp: {wrong}"
        )


def _nested(schema: Schema, path: str, skip_any_of: bool = False) -> Iterator[FieldError]:
    yield from _value_validation(schema, path, skip_any_of)
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], f"{path}.items")
    for name, child in (schema.get("properties") or {}).items():
        yield from _nested(child, f"{path}.properties[{name}]")
    for name, must in _FORBIDDEN_WITHIN:
        if schema.get(name):
            yield errors.forbidden(f"{path}.{name}", f"{must} to be structural")
    if "metadata" in (schema.get("properties") or {}):
        yield errors.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _completeness(schema: Schema, path: str) -> Iterator[FieldError]:
    """Every field that a junctor of the root speaks of is declared outside of junctors (the root's only, as there)."""
    for name in ("anyOf", "allOf", "oneOf"):
        for i, child in enumerate(schema.get(name) or []):
            yield from _complete(schema, child, path, f"{path}.{name}[{i}]")
    if isinstance(schema.get("not"), dict):
        yield from _complete(schema, schema["not"], path, f"{path}.not")


def _complete(outer: Schema, nested: Schema, path: str, nested_path: str) -> Iterator[FieldError]:
    for name in ("anyOf", "allOf", "oneOf"):
        for i, child in enumerate(nested.get(name) or []):
            yield from _complete(outer, child, path, f"{nested_path}.{name}[{i}]")
    if isinstance(nested.get("not"), dict):
        yield from _complete(outer, nested["not"], path, f"{nested_path}.not")
    if isinstance(nested.get("items"), dict):
        items = outer.get("items")
        if not isinstance(items, dict):
            yield errors.required(f"{path}.items", f"because it is defined in {nested_path}.items")
        else:
            yield from _complete(items, nested["items"], f"{path}.items", f"{nested_path}.items")
    for name, child in (nested.get("properties") or {}).items():
        declared = (outer.get("properties") or {}).get(name)
        where = f"{path}.properties[{name}]"
        if declared is None:
            yield errors.required(where, f"because it is defined in {nested_path}.properties[{name}]")
        else:
            yield from _complete(declared, child, where, f"{nested_path}.properties[{name}]")
