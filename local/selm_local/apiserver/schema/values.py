"""OpenAPI v3 validation of values against a structural schema, with Kubernetes' field paths, reasons and messages.

Source: k8s.io/kube-openapi/pkg/validation/validate, k8s.io/apiextensions-apiserver/pkg/apiserver/validation (which maps
its results to field errors, and ratchets: what was invalid before and did not change is let through).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from selm_local.apiserver.schema import errors, regex
from selm_local.apiserver.schema.correlation import OldItems, old_property
from selm_local.apiserver.schema.errors import NO_FIELD, FieldError, child, index
from selm_local.apiserver.schema.formats import CHECKS, INTEGER_RANGES
from selm_local.apiserver.schema.jsonvalue import Json, is_integer, is_number, json_equal, number_text, type_name
from selm_local.apiserver.schema.node import ABSENT, Node


def validate(node: Node, value: Json, old: Any = ABSENT, path: str = "") -> list[FieldError]:
    """Errors of `value`; `old` is the stored value that it replaces (ABSENT: none that can be correlated)."""
    if old is not ABSENT and json_equal(value, old):
        return []
    return list(_node(node, value, old, path))


def _node(node: Node, value: Json, old: Any, path: str) -> Iterator[FieldError]:
    if value is None and node.nullable:
        return
    wrong = _type_error(node, value, path)
    if wrong is not None:
        yield wrong
        if isinstance(value, float) and node.type == "integer" and node.format in INTEGER_RANGES:
            yield _out_of_format(node, path)
    else:
        yield from _scalar(node, value, path)
        if isinstance(value, dict):
            yield from _object(node, value, old, path)
        elif isinstance(value, list):
            yield from _array(node, value, old, path)
    yield from _junctors(node, value, path)


def _said(path: str, text: str) -> str:
    return f"{path} in body {text}"


def _type_error(node: Node, value: Json, path: str) -> FieldError | None:
    found = type_name(value)
    allowed = ["integer", "string"] if node.int_or_string and not node.type else [node.type] if node.type else []
    if not allowed or found in allowed:
        return None
    if "number" in allowed and found == "integer":
        return None
    if "integer" in allowed and is_integer(value):
        return None
    wanted = ",".join(allowed)
    if found == "number" and node.format:
        wanted, found = node.format, "float64"  # as the real server names what it found
    return errors.type_invalid(path or NO_FIELD, found, _said(path, f'must be of type {wanted}: "{found}"'))


def _scalar(node: Node, value: Json, path: str) -> Iterator[FieldError]:
    source = node.source
    enum = source.get("enum")
    if enum and not any(json_equal(_whole(value), _whole(allowed)) for allowed in enum):
        yield errors.not_supported(path or NO_FIELD, value, enum)
    if is_number(value):
        yield from _number(node, value, path)
    elif isinstance(value, str):
        yield from _string(node, value, path)


def _whole(value: Json) -> Json:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(node: Node, value: float, path: str) -> Iterator[FieldError]:
    source, where = node.source, path or NO_FIELD
    low, high = INTEGER_RANGES.get(node.format, (None, None))
    if node.type == "integer" and low is not None and high is not None and not low <= value <= high:
        yield _out_of_format(node, path)
    minimum, maximum = source.get("minimum"), source.get("maximum")
    if minimum is not None:
        strict = bool(source.get("exclusiveMinimum"))
        if value < minimum or (strict and value == minimum):
            word = "greater than" if strict else "greater than or equal to"
            yield errors.invalid(where, _whole(value), _said(path, f"should be {word} {number_text(minimum)}"))
    if maximum is not None:
        strict = bool(source.get("exclusiveMaximum"))
        if value > maximum or (strict and value == maximum):
            word = "less than" if strict else "less than or equal to"
            yield errors.invalid(where, _whole(value), _said(path, f"should be {word} {number_text(maximum)}"))
    factor = source.get("multipleOf")
    if factor and not float(value / factor).is_integer():
        yield errors.invalid(where, _whole(value), _said(path, f"should be a multiple of {number_text(factor)}"))


def _out_of_format(node: Node, path: str) -> FieldError:
    text = f"Checked value must be of type integer with format {node.format} in {path}"
    return FieldError(NO_FIELD, "FieldValueInvalid", f'Invalid value: "": {text}')


def _string(node: Node, value: str, path: str) -> Iterator[FieldError]:
    source, where = node.source, path or NO_FIELD
    shortest, longest, pattern = source.get("minLength"), source.get("maxLength"), source.get("pattern")
    if shortest is not None and len(value) < shortest:
        yield errors.invalid(where, value, _said(path, f"should be at least {shortest} chars long"))
    if longest is not None and len(value) > longest:
        yield errors.too_long(where, longest)
    if pattern and not regex.matches(pattern, value):
        yield errors.invalid(where, value, _said(path, f"should match '{pattern}'"))
    check = CHECKS.get(node.format)
    if check is not None and not check(value):
        yield errors.type_invalid(where, value, _said(path, f"must be of type {node.format}: {errors.quoted(value)}"))


def _object(node: Node, value: dict[str, Json], old: Any, path: str) -> Iterator[FieldError]:
    source, where = node.source, path or NO_FIELD
    least, most = source.get("minProperties"), source.get("maxProperties")
    if least is not None and len(value) < least:
        yield errors.invalid(where, len(value), _said(path, f"should have at least {least} properties"))
    if most is not None and len(value) > most:
        yield errors.too_many(where, len(value), most)
    for name in node.required:
        if name not in value:
            yield errors.required(child(path, name))
    for name, item in value.items():
        schema = node.child(name)
        if schema is not None:
            yield from validate(schema, item, old_property(node, old, name), child(path, name))


def _array(node: Node, value: list[Json], old: Any, path: str) -> Iterator[FieldError]:
    source, where = node.source, path or NO_FIELD
    least, most = source.get("minItems"), source.get("maxItems")
    if least is not None and len(value) < least:
        yield errors.invalid(where, len(value), _said(path, f"should have at least {least} items"))
    if most is not None and len(value) > most:
        yield errors.too_many(where, len(value), most)
    if node.items is not None:
        olds = OldItems(node, old)
        for i, item in enumerate(value):
            yield from validate(node.items, item, olds.find(item), index(path, i))


def _junctors(node: Node, value: Json, path: str) -> Iterator[FieldError]:
    """allOf, anyOf, oneOf, not: never ratcheted beneath their own node."""
    where = path or NO_FIELD
    found = [error for each in node.all_of for error in validate(each, value, ABSENT, path)]
    if found:
        yield errors.invalid(where, "", f'"{path}" must validate all the schemas (allOf)')
        yield from found
    if node.any_of and not node.is_int_or_string_pattern():
        alternatives = [validate(each, value, ABSENT, path) for each in node.any_of]
        if all(alternatives):
            yield errors.invalid(where, "", f'"{path}" must validate at least one schema (anyOf)')
            yield from min(alternatives, key=len)
    if node.one_of:
        alternatives = [validate(each, value, ABSENT, path) for each in node.one_of]
        valid = sum(not each for each in alternatives)
        if valid != 1:
            text = "Found none valid" if valid == 0 else f"Found {valid} valid alternatives"
            yield errors.invalid(where, "", f'"{path}" must validate one and only one schema (oneOf). {text}')
            if valid == 0:
                yield from min(alternatives, key=len)
    if node.not_ is not None and not validate(node.not_, value, ABSENT, path):
        yield errors.invalid(where, "", f'"{path}" must not validate the schema (not)')
