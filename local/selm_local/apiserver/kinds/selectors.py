"""Label selectors inside of objects: what is refused. Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation."""

from __future__ import annotations

from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def is_empty(selector: Object | None) -> bool:
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def label_selector(selector: Object | None, path: str) -> list[FieldError]:
    """Reasons to refuse a metav1.LabelSelector."""
    if selector is None:
        return []
    found = names.label_map(selector.get("matchLabels"), f"{path}.matchLabels")
    for i, expression in enumerate(selector.get("matchExpressions") or []):
        here, operator, values = (
            f"{path}.matchExpressions[{i}]",
            expression.get("operator"),
            expression.get("values") or [],
        )
        if operator in ("In", "NotIn") and not values:
            text = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(field.required(f"{here}.values", text))
        elif operator in ("Exists", "DoesNotExist") and values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(field.forbidden(f"{here}.values", text))
        elif operator not in OPERATORS:
            found.append(field.invalid(f"{here}.operator", operator or "", "not a valid selector operator"))
        key = expression.get("key") or ""
        found += [field.invalid(f"{here}.key", key, text) for text in names.qualified_name(key)]
        for j, value in enumerate(values):
            found += [field.invalid(f"{here}.values[{j}]", value, text) for text in names.label_value(value)]
    return found
