"""Jobs: defaults, the generated selector, every refusal of batch/v1 that does not concern status.

Sources: kubernetes/pkg/apis/batch/v1/defaults.go, pkg/apis/batch/validation/validation.go.
"""

from __future__ import annotations

import copy

from selm_local.apiserver.kinds.builtin import BuiltIn, at_least, immutable, one_of
from selm_local.apiserver.kinds.jobpolicies import validate_failure_policy, validate_success_policy
from selm_local.apiserver.kinds.jobstatus import validate_status
from selm_local.apiserver.kinds.podspec import blank_template, default_pod_spec, validate_pod_spec
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.selectors import from_label_selector
from selm_local.apiserver.storage import Object

NO_LIMIT = 2**31 - 1
MAX_INDEXED_PARALLELISM = 100_000
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)


class Jobs(BuiltIn):
    default_propagation = "Orphan"

    def blank_parts(self) -> Object:
        return {"spec": {"template": blank_template()}}

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

    def validate_subresource(self, subresource: str, obj: Object, old: Object) -> list[FieldError]:
        return validate_status(obj, old) if subresource == "status" else []

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
    found += validate_failure_policy(spec)
    found += validate_success_policy(spec)
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
