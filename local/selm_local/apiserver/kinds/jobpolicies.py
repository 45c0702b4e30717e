"""The failure and success policies of Jobs: every refusal. Pure.

Source: kubernetes/pkg/apis/batch/validation/validation.go.
"""

from __future__ import annotations

from typing import Any

from selm_local.apiserver.kinds.builtin import one_of
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

MAX_RULES = 20
MAX_EXIT_CODES = 255


def validate_failure_policy(spec: Object) -> list[FieldError]:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return []
    path, rules, found = "spec.podFailurePolicy.rules", policy.get("rules") or [], []
    if len(rules) > MAX_RULES:
        found.append(field.too_many(path, len(rules), MAX_RULES))
    containers = {
        c.get("name") for k in ("containers", "initContainers") for c in spec["template"]["spec"].get(k) or []
    }
    actions = ("Count", "FailIndex", "FailJob", "Ignore")
    for i, rule in enumerate(rules):
        here, action = f"{path}[{i}]", rule.get("action")
        if not action:
            found.append(field.required(f"{here}.action", "valid values: " + ", ".join(f'"{a}"' for a in actions)))
        elif action not in actions:
            found.append(field.not_supported(f"{here}.action", action, actions))
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            found.append(field.invalid(f"{here}.action", action, "requires the backoffLimitPerIndex to be set"))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None and conditions:
            found.append(field.invalid(here, rule, "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is None and not conditions:
            found.append(field.invalid(here, rule, "specifying one of OnExitCodes and OnPodConditions is required"))
        if codes is not None:
            found += _validate_exit_codes(codes, f"{here}.onExitCodes", containers)
        for j, condition in enumerate(conditions):
            where = f"{here}.onPodConditions[{j}]"
            found += [
                field.invalid(f"{where}.type", condition.get("type") or "", t)
                for t in names.qualified_name(condition.get("type") or "")
            ]
            found += one_of(f"{where}.status", condition.get("status"), ("False", "True", "Unknown"))
    return found


def _validate_exit_codes(codes: Object, path: str, containers: set[Any]) -> list[FieldError]:
    found: list[FieldError] = []
    operator, values = codes.get("operator"), codes.get("values") or []
    if not operator:
        found.append(field.required(f"{path}.operator", 'valid values: "In", "NotIn"'))
    found += one_of(f"{path}.operator", operator or None, ("In", "NotIn"))
    name = codes.get("containerName")
    if name is not None and name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        found.append(field.invalid(f"{path}.containerName", name, text))
    if not values:
        found.append(field.invalid(f"{path}.values", values, "at least one value is required"))
    elif len(values) > MAX_EXIT_CODES:
        found.append(field.too_many(f"{path}.values", len(values), MAX_EXIT_CODES))
    seen: set[int] = set()
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            found.append(field.invalid(f"{path}.values[{i}]", value, "must not be 0 for the In operator"))
        if value in seen:
            found.append(field.duplicate(f"{path}.values[{i}]", value))
        seen.add(value)
    if values != sorted(values):
        found.append(field.invalid(f"{path}.values", values, "must be ordered"))
    return found


def validate_success_policy(spec: Object) -> list[FieldError]:
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec["completionMode"] != "Indexed":
        return [field.invalid("spec.successPolicy", policy, "requires indexed completion mode")]
    path, rules, found = "spec.successPolicy.rules", policy.get("rules") or [], []
    if not rules:
        found.append(field.required(path, "at least one rules must be specified when the successPolicy is specified"))
    if len(rules) > MAX_RULES:
        found.append(field.too_many(path, len(rules), MAX_RULES))
    completions = spec.get("completions") or 0
    for i, rule in enumerate(rules):
        here, count, indexes = f"{path}[{i}]", rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            found.append(field.required(here, "at least one of succeededCount or succeededIndexes must be specified"))
        total = completions
        if indexes is not None:
            try:
                total = count_indexes(indexes, completions)
            except ValueError as e:
                found.append(field.invalid(f"{here}.succeededIndexes", indexes, f"error parsing succeededIndexes: {e}"))
                continue
        if count is not None and count < 1:
            found.append(field.invalid(f"{here}.succeededCount", count, "must be greater than 0"))
        elif count is not None and count > total:
            what = "the specified index numbers" if indexes is not None else "completions"
            found.append(
                field.invalid(
                    f"{here}.succeededCount", count, f"must be less than or equal to {total} (the number of {what})"
                )
            )
    return found


def count_indexes(text: str, completions: int) -> int:
    """How many indexes `0-2,4` names. Raises ValueError for what is not ascending or beyond the completions."""
    total, last = 0, -1
    for part in text.split(",") if text else []:
        first, _, end = part.partition("-")
        low = int(first)
        high = int(end) if end else low
        if low <= last or high < low:
            raise ValueError(f"non-increasing order in {part!r}")
        if high >= completions:
            raise ValueError(f"too large index {high}, must be less than {completions}")
        total, last = total + high - low + 1, high
    return total
