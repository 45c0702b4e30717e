"""Deployments and ReplicaSets: defaults and validation.

Source: kubernetes/pkg/apis/apps/v1/defaults.go, pkg/apis/apps/validation/validation.go.
"""

from __future__ import annotations

import re
from typing import Any

from selm_local.apiserver.kinds.builtin import BuiltIn, at_least, immutable
from selm_local.apiserver.kinds.podspec import blank_template, default_pod_spec, validate_pod_spec
from selm_local.apiserver.kinds.selectors import is_empty, label_selector
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.selectors import from_label_selector
from selm_local.apiserver.storage import Object

_PERCENT = re.compile(r"[0-9]+%")


def default_template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def validate_template(spec: Object) -> list[FieldError]:
    """The selector, and the template that must match it and run for ever."""
    selector, template = spec.get("selector"), spec["template"]
    found: list[FieldError] = []
    if selector is None:
        found.append(field.required("spec.selector"))
    else:
        found += label_selector(selector, "spec.selector")
        if is_empty(selector):
            found.append(field.invalid("spec.selector", selector, "empty selector is invalid for deployment"))
    labels = template["metadata"].get("labels") or {}
    if selector and not found and not from_label_selector(selector).matches(labels):
        text = "`selector` does not match template `labels`"
        found.append(field.invalid("spec.template.metadata.labels", labels, text))
    found += names.label_map(template["metadata"].get("labels"), "spec.template.metadata.labels")
    found += names.annotation_map(template["metadata"].get("annotations"), "spec.template.metadata.annotations")
    found += validate_pod_spec(template["spec"], "spec.template.spec")
    policy = template["spec"].get("restartPolicy")
    if policy in ("Never", "OnFailure"):
        found.append(field.not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if template["spec"].get("activeDeadlineSeconds") is not None:
        text = "activeDeadlineSeconds in ReplicaSet is not Supported"
        found.append(field.forbidden("spec.template.spec.activeDeadlineSeconds", text))
    return found


def portion(value: Any, total: int, *, up: bool) -> int:
    """A count, or a percentage of a total, as a count (metav1's IntOrString scaled)."""
    if isinstance(value, str):
        share = total * int(value[:-1])
        return -(-share // 100) if up else share // 100
    return int(value)


def validate_portion(path: str, value: Any) -> list[FieldError]:
    if isinstance(value, str):
        if _PERCENT.fullmatch(value):
            return []
        return [
            field.invalid(
                path,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' "
                "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            )
        ]
    return at_least(path, value, 0)


class Deployments(BuiltIn):
    def blank_parts(self) -> Object:
        return {"spec": {"selector": None, "strategy": {}, "template": blank_template()}}

    def default(self, obj: Object) -> Object:
        spec = obj.setdefault("spec", {})
        default_template(spec)
        spec.setdefault("replicas", 1)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
        return obj

    def desired(self, obj: Object) -> Any:
        # Annotations count too: that is how a rollout is paused, undone and told apart.
        return obj.get("spec"), obj["metadata"].get("annotations") or {}

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        spec = obj["spec"]
        found = validate_template(spec) + _strategy(spec["strategy"])
        for name in ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
            found += at_least(f"spec.{name}", spec.get(name), 0)
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
            found.append(
                field.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
            )
        return found + (immutable("spec.selector", spec.get("selector"), old["spec"].get("selector")) if old else [])


def _strategy(strategy: Object) -> list[FieldError]:
    path, kind, rolling = "spec.strategy", strategy["type"], strategy.get("rollingUpdate")
    if kind == "Recreate":
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [field.forbidden(f"{path}.rollingUpdate", text)] if rolling is not None else []
    if kind != "RollingUpdate":
        return [field.not_supported(f"{path}.type", kind, ("Recreate", "RollingUpdate"))]
    rolling = rolling or {}
    found = [
        e
        for name in ("maxUnavailable", "maxSurge")
        for e in validate_portion(f"{path}.rollingUpdate.{name}", rolling[name])
    ]
    if (
        not found
        and portion(rolling["maxUnavailable"], 100, up=False) == 0
        and portion(rolling["maxSurge"], 100, up=True) == 0
    ):
        found.append(
            field.invalid(
                f"{path}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"
            )
        )
    unavailable = rolling.get("maxUnavailable")
    if not found and isinstance(unavailable, str) and int(unavailable[:-1]) > 100:
        found.append(
            field.invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, "must not be greater than 100%")
        )
    return found


class ReplicaSets(BuiltIn):
    def blank_parts(self) -> Object:
        return {"spec": {"selector": None, "template": blank_template()}}

    def default(self, obj: Object) -> Object:
        spec = obj.setdefault("spec", {})
        default_template(spec)
        spec.setdefault("replicas", 1)
        return obj

    def initial_status(self, obj: Object) -> Object:  # noqa: ARG002 - hooks share one signature
        return {"replicas": 0}

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        spec = obj["spec"]
        found = validate_template(spec)
        for name in ("replicas", "minReadySeconds"):
            found += at_least(f"spec.{name}", spec.get(name), 0)
        return found + (immutable("spec.selector", spec.get("selector"), old["spec"].get("selector")) if old else [])

    def selectable(self, name: str) -> bool:
        return super().selectable(name) or name == "status.replicas"

    def field_value(self, obj: Object, name: str) -> str:
        if name == "status.replicas":
            return str((obj.get("status") or {}).get("replicas", 0))
        return super().field_value(obj, name)
