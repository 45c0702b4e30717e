"""The structural schema (OpenAPI v3) of the models, as a CustomResourceDefinition carries it.

pydantic's own JSON schema gives types, enums and bounds, so that what validates in Python is what the CRD says. It is
rewritten into the structural form: no `$ref`, no null, no `anyOf` but that of int-or-string, exclusive bounds as
OpenAPI v3.0 writes them, groups with a default of `{}` so that their inner defaults apply, and Kubernetes' list types.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from selm_operator.api.base import (
    API_VERSION,
    KIND,
    MAX_INT32,
    ApiModel,
    Atomic,
    ListMap,
    ListSet,
)
from selm_operator.api.inspection import FieldNode, describe, fields_of, models_under
from selm_operator.api.rule import Run
from selm_operator.api.rules import rules_on
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import UNSEEN, SELMRunStatus

Schema = dict[str, Any]

_KEPT = ("type", "enum", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems", "maxProperties")
_INCLUSIVE = {"minimum": "minimum", "ge": "minimum", "maximum": "maximum", "le": "maximum"}
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "gt": "minimum", "exclusiveMaximum": "maximum", "lt": "maximum"}


def run_schema() -> Schema:
    """The schema of a whole SELMRun."""
    spec = {"description": "spec: what is to be done.", **group_schema(SELMRunSpec, described=False)}
    status = {
        "description": "status: what has been done; written by the operator only. Default: {observedGeneration: -1}.",
        "default": {"observedGeneration": UNSEEN},
        **group_schema(SELMRunStatus, described=False),
    }
    return {
        "type": "object",
        "description": "One run of iterative preference optimisation.",
        "required": ["spec"],
        "x-kubernetes-validations": [rule.to_crd() for rule in rules_on(Run)],
        "properties": {
            "apiVersion": {"type": "string", "description": f"apiVersion: {API_VERSION}."},
            "kind": {"type": "string", "description": f"kind: {KIND}."},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": spec,
            "status": status,
        },
    }


def group_schema(model: type[ApiModel], *, described: bool = True) -> Schema:
    """The schema of one group and all beneath it."""
    fields = fields_of(model)
    schema: Schema = {"description": (model.__doc__ or "").strip()} if described else {}
    schema["type"] = "object"
    required = [node.alias for node in fields if node.required]
    if required:
        schema["required"] = required
    rules = [rule.to_crd() for rule in rules_on(model) if rule.field is None]
    if rules:
        schema["x-kubernetes-validations"] = rules
    schema["properties"] = {node.alias: _field_schema(node) for node in fields}
    return schema


def _field_schema(node: FieldNode) -> Schema:
    schema: Schema = {
        "description": describe(node),
        **_value_schema(_json_schema(node.owner)["properties"][node.alias]),
    }
    if not node.required and not node.may_be_absent:
        schema["default"] = _default(node)
    match node.list_kind:
        case ListMap(key):
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
        case ListSet():
            schema["x-kubernetes-list-type"] = "set"
        case Atomic():
            schema["x-kubernetes-list-type"] = "atomic"
    rules = [rule.to_crd() for rule in rules_on(node.owner) if rule.field == node.alias]
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def _default(node: FieldNode) -> Any:
    """A group's default is the empty object: the API server then fills in what its fields say."""
    if isinstance(node.default, ApiModel):
        return {}
    return list(node.default) if isinstance(node.default, tuple) else node.default


def _value_schema(raw: Schema) -> Schema:
    """One value of pydantic's JSON schema in structural form."""
    options = [option for option in raw.get("anyOf", []) if option != {"type": "null"}]
    if options:
        if len(options) != 1:
            raise TypeError(f"a structural schema has one type a node, found {options}")
        return _value_schema({**options[0], **{k: v for k, v in raw.items() if k != "anyOf"}})
    if "$ref" in raw:
        return group_schema(_model_of(raw["$ref"]), described=False)
    if raw.get("x-kubernetes-int-or-string"):
        either = [{"type": "integer"}, {"type": "string"}]
        return {"anyOf": either, "x-kubernetes-int-or-string": True, "pattern": raw["pattern"]}
    schema = {key: raw[key] for key in _KEPT if key in raw}
    schema |= {new: raw[old] for old, new in _INCLUSIVE.items() if old in raw}
    for old, new in _EXCLUSIVE.items():
        if old in raw:
            schema |= {new: raw[old], f"exclusive{new.capitalize()}": True}
    match raw.get("type"):
        case "integer":
            schema["format"] = "int32" if abs(schema.get("maximum", 0)) <= MAX_INT32 else "int64"
        case "array":
            schema["items"] = _item_schema(raw["items"])
        case "object":
            schema |= _open_object(schema, raw["additionalProperties"])
    return schema


def _item_schema(raw: Schema) -> Schema:
    return group_schema(_model_of(raw["$ref"])) if "$ref" in raw else _value_schema(raw)


def _open_object(schema: Schema, values: Schema | bool) -> Schema:
    """Objects without declared fields: maps of one kind of value, or open ones."""
    if values is True:
        return {"x-kubernetes-preserve-unknown-fields": True}
    bound = schema.pop("maxLength")  # how pydantic writes the bound of a map behind a validator
    assert isinstance(values, dict)
    return {"maxProperties": bound, "additionalProperties": _value_schema(values)}


@cache
def _json_schema(model: type[ApiModel]) -> Schema:
    schema = TypeAdapter(model).json_schema(by_alias=True, mode="validation")
    defs: Schema = schema.get("$defs", {})
    name = model.__name__
    return defs[name] if name in defs and "properties" not in schema else schema


@cache
def _models_by_name() -> dict[str, type[ApiModel]]:
    models = [*models_under(SELMRunSpec), *models_under(SELMRunStatus)]
    by_name = {model.__name__: model for model in models}
    assert len(by_name) == len(set(models)), "two groups share a name"
    return by_name


def _model_of(ref: str) -> type[ApiModel]:
    return _models_by_name()[ref.removeprefix("#/$defs/")]
