"""Validates SELMRuns in Python as the API server does with the CRD: the same paths, for the same mistakes.

Used by the operator, which must not trust that the CRD's rules were in force, by `selm` before it applies, and by the
tests, which hold CRD and models to one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from selm_operator.api.base import API_VERSION, KIND, ApiModel
from selm_operator.api.entries import entry_errors
from selm_operator.api.field_errors import BLOCKING, FieldError, of_validation, shown
from selm_operator.api.inspection import FieldNode, fields_of
from selm_operator.api.lenient import build
from selm_operator.api.rule import BaseRule, ChangeRule, Rule, Run
from selm_operator.api.rules import rules_on
from selm_operator.api.spec import SELMRunSpec
from selm_operator.api.status import SELMRunStatus

__all__ = ["FieldError", "validate_change", "validate_spec"]

_ROOT_FIELDS = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


def validate_spec(obj: Mapping[str, Any]) -> list[FieldError]:
    """Why a SELMRun (the whole object: metadata and spec) may not be created; empty: it may."""
    return _validate(obj, None, None)


def validate_change(
    old: Mapping[str, Any], new: Mapping[str, Any], old_status: Mapping[str, Any] | None = None
) -> list[FieldError]:
    """Why the stored SELMRun `old` may not become `new` (whole objects); empty: it may.

    `old_status` is the status that is stored, where `old` does not hold it.
    """
    return _validate(new, old, old_status if old_status is not None else old.get("status"))


def _validate(
    obj: Mapping[str, Any], old: Mapping[str, Any] | None, old_status: Mapping[str, Any] | None
) -> list[FieldError]:
    unknown = [FieldError(key, "is no field of a SELMRun", "UnknownField") for key in obj if key not in _ROOT_FIELDS]
    errors = [*_type_meta(obj), *_spec_errors(obj.get("spec"))]
    unknown += [error for error in errors if error.reason == "UnknownField"]
    if unknown:
        return unknown  # strict decoding comes before validation, and its answer names nothing else
    if any(error.reason in BLOCKING for error in errors):
        return errors
    run = _run(obj, obj["spec"], None)
    before = _run(old, old.get("spec") or {}, old_status) if old is not None else None
    return errors + list(_broken_rules(run, before, "", obj))


def _type_meta(obj: Mapping[str, Any]) -> Iterator[FieldError]:
    for key, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if obj.get(key, expected) != expected:
            yield FieldError(key, f"must be {expected}; found {shown(obj[key])}")


def _spec_errors(spec: Any) -> list[FieldError]:
    if spec is None:
        return [FieldError("spec", "is required", "FieldValueRequired")]
    errors: list[FieldError] = []
    try:
        SELMRunSpec.model_validate(spec)
    except ValidationError as failure:
        errors = of_validation(SELMRunSpec, "spec", failure)
    if isinstance(spec, dict):
        errors += entry_errors(SELMRunSpec, spec, "spec")
    return errors


def _run(obj: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any] | None) -> Run:
    return Run.model_construct(
        name=(obj.get("metadata") or {}).get("name", ""),
        spec=build(SELMRunSpec, spec),
        status=build(SELMRunStatus, status) if status else None,
    )


def _broken_rules(new: ApiModel, old: ApiModel | None, path: str, obj: Any) -> Iterator[FieldError]:
    for rule in rules_on(type(new)):
        if not _holds(rule, new, old):
            where = f"{path}{rule.path}".removeprefix(".")
            yield FieldError(where, f"{rule.message}{_found(obj, rule.path)}", rule.reason)
    for node in fields_of(type(new)):
        value = getattr(new, node.name)
        if node.model is None or value is None:
            continue
        here, raw = f"{path}.{node.alias}".removeprefix("."), _get(obj, node.alias)
        before = getattr(old, node.name) if old is not None else None
        if node.is_list:
            for index, (item, was) in enumerate(_pairs(node, value, before)):
                yield from _broken_rules(item, was, f"{here}[{index}]", _get(raw, index))
        else:
            yield from _broken_rules(value, before, here, raw)


def _holds(rule: BaseRule[Any], new: ApiModel, old: ApiModel | None) -> bool:
    if isinstance(rule, ChangeRule):
        return old is None or rule.holds(new, old)
    assert isinstance(rule, Rule)
    return rule.holds(new)


def _pairs(
    node: FieldNode, new: tuple[ApiModel, ...], old: tuple[ApiModel, ...] | None
) -> Iterator[tuple[ApiModel, ApiModel | None]]:
    """Each entry beside what it was; entries of atomic lists have no past."""
    key = next((field.name for field in fields_of(type(new[0])) if field.alias == node.key), None) if new else None
    before = {getattr(item, key): item for item in old or ()} if key else {}
    for item in new:
        yield item, before.get(getattr(item, key)) if key else None


def _get(obj: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return obj[step] if isinstance(obj, list) and step < len(obj) else None
    return obj.get(step) if isinstance(obj, dict) else None


def _found(obj: Any, path: str) -> str:
    """What stands at the reported path, where the user wrote a plain value there."""
    for step in path.split(".")[1:]:
        obj = _get(obj, step)
    return f"; found {shown(obj)}" if isinstance(obj, str | int | float) else ""
