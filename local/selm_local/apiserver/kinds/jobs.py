"""Jobs: defaults, the generated selector, every refusal of batch/v1 that does not concern status.

Sources: kubernetes/pkg/apis/batch/v1/defaults.go, pkg/apis/batch/validation/validation.go.
"""

from __future__ import annotations

import copy
from typing import Any

from selm_local.apiserver.kinds.builtin import BuiltIn, at_least, immutable, one_of
from selm_local.apiserver.kinds.podspec import default_pod_spec, validate_pod_spec
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.selectors import from_label_selector
from selm_local.apiserver.storage import Object

NO_LIMIT = 2**31 - 1
MAX_RULES = 20
MAX_EXIT_CODES = 255
MAX_INDEXED_PARALLELISM = 100_000
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)


class Jobs(BuiltIn):
    default_propagation = "Orphan"

    def default(self, obj: Object) -> Object:
        spec = obj.setdefault("spec", {})
        if spec.get("completions") is None and spec.get("parallelism") is None:
            spec["completions"] = 1
        spec.setdefault("parallelism", 1)
        spec.setdefault("backoffLimit", NO_LIMIT if spec.get("backoffLimitPerIndex") is not None else 6)
        spec.setdefault("completionMode", "NonIndexed")
        spec.setdefault("suspend", False)
        spec.setdefault("manualSelector", False)
        spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
        for rule in (spec.get("podFailurePolicy") or {}).get("rules") or []:
            for condition in rule.get("onPodConditions") or []:
                condition.setdefault("status", "True")
        template = spec.setdefault("template", {})
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}))
        labels = template["metadata"].get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
        return obj

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        spec, uid, name = obj["spec"], obj["metadata"]["uid"], obj["metadata"].get("name") or ""
        if spec["manualSelector"]:
            return
        labels = spec["template"]["metadata"].setdefault("labels", {})
        labels |= {CONTROLLER_UID: uid, "controller-uid": uid, JOB_NAME: name, "job-name": name}
        selector = spec.setdefault("selector", {})
        selector.setdefault("matchLabels", {})[CONTROLLER_UID] = uid

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        if old is not None:
            return _changes(obj["spec"], old["spec"], old.get("status") or {}) + validate_job_spec(obj["spec"])
        return _hostnames(obj) + validate_job_spec(obj["spec"])

    def deletion_warnings(self, propagation: str | None) -> list[str]:
        return [_WARNING] if propagation is None else []

    def selectable(self, name: str) -> bool:
        return name in ("metadata.name", "metadata.namespace", "status.successful")

    def field_value(self, obj: Object, name: str) -> str:
        if name == "status.successful":
            return str((obj.get("status") or {}).get("succeeded", 0))
        return super().field_value(obj, name)


def _hostnames(obj: Object) -> list[FieldError]:
    """The pods of an Indexed Job are named after it; the longest name must still be a DNS label."""
    spec, name = obj["spec"], obj["metadata"].get("name") or ""
    completions = spec.get("completions")
    if spec["completionMode"] != "Indexed" or not completions or not name:
        return []
    longest = f"{name}-{completions - 1}"
    if not names.dns1123_label(longest):
        return []
    return [field.invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {longest}")]


def validate_job_spec(spec: Object) -> list[FieldError]:
    found: list[FieldError] = []
    for name in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        found += at_least(f"spec.{name}", spec.get(name), 0)
    found += one_of("spec.completionMode", spec["completionMode"], ("NonIndexed", "Indexed"))
    found += _validate_indexes(spec)
    found += _validate_failure_policy(spec)
    found += _validate_success_policy(spec)
    replacement = spec["podReplacementPolicy"]
    allowed = ("Failed",) if spec.get("podFailurePolicy") else ("Failed", "TerminatingOrFailed")
    found += one_of("spec.podReplacementPolicy", replacement, allowed)
    managed_by = spec.get("managedBy")
    if managed_by is not None and "/" not in managed_by:
        found.append(
            field.invalid("spec.managedBy", managed_by, 'must be a domain-prefixed path (such as "acme.io/foo")')
        )
    template = spec["template"]
    selector = from_label_selector(spec.get("selector"))
    labels = template["metadata"].get("labels") or {}
    if not selector.matches(labels):
        found.append(
            field.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        )
    found += validate_pod_spec(template["spec"], "spec.template.spec")
    policy = template["spec"].get("restartPolicy")
    if policy == "Always":
        found.append(field.required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    elif spec.get("podFailurePolicy") and policy != "Never":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        found.append(field.invalid("spec.template.spec.restartPolicy", policy, text))
    return found


def _validate_indexes(spec: Object) -> list[FieldError]:
    found: list[FieldError] = []
    completions, per_index, failed = (
        spec.get("completions"),
        spec.get("backoffLimitPerIndex"),
        spec.get("maxFailedIndexes"),
    )
    if spec["completionMode"] == "Indexed":
        if completions is None:
            found.append(field.required("spec.completions", "when completion mode is Indexed"))
        parallelism = spec.get("parallelism") or 0
        if parallelism > MAX_INDEXED_PARALLELISM:
            text = f"must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
            found.append(field.invalid("spec.parallelism", parallelism, text))
        if failed is not None and completions is not None and failed > completions:
            text = f"must be less than or equal to {completions}"
            found.append(
                field.invalid("spec.maxFailedIndexes", failed, "must be less than or equal to completions: " + text)
            )
    else:
        for name, value in (("backoffLimitPerIndex", per_index), ("maxFailedIndexes", failed)):
            if value is not None:
                found.append(field.invalid(f"spec.{name}", value, "requires indexed completion mode"))
    if failed is not None and per_index is None:
        found.append(field.required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    return found


def _validate_failure_policy(spec: Object) -> list[FieldError]:
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


def _validate_success_policy(spec: Object) -> list[FieldError]:
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


def _changes(new: Object, old: Object, status: Object) -> list[FieldError]:
    """What an update may not change."""
    found: list[FieldError] = []
    if new.get("completions") != old.get("completions"):
        if old["completionMode"] != "Indexed":
            found += immutable("spec.completions", new.get("completions"), old.get("completions"))
        elif new.get("completions") != new.get("parallelism") or old.get("completions") != old.get("parallelism"):
            text = "can only be modified in tandem with spec.parallelism"
            found.append(field.invalid("spec.completions", new.get("completions"), text))
    for name in (
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ):
        found += immutable(f"spec.{name}", new.get(name), old.get(name))
    template, before = new["template"], old["template"]
    # A queue may steer where a Job's pods go, as long as none has started.
    if old.get("suspend") and not status.get("startTime"):
        template = _with_scheduling_of(template, before)
    if template != before:
        found.append(field.invalid("spec.template", template, "field is immutable"))
    return found


def _with_scheduling_of(template: Object, before: Object) -> Object:
    result = copy.deepcopy(template)
    for name in ("annotations", "labels"):
        _copy_key(result["metadata"], before["metadata"], name)
    for name in ("affinity", "nodeSelector", "schedulingGates", "tolerations"):
        _copy_key(result["spec"], before["spec"], name)
    return result


def _copy_key(target: Object, source: Object, name: str) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)
