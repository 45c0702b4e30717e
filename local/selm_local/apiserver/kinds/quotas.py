"""ResourceQuotas as objects: what may stand in one. What they do is in `apiserver.quota`.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateResourceQuota).
"""

from __future__ import annotations

from selm_local.apiserver.kinds.builtin import BuiltIn
from selm_local.apiserver.kinds.podspec import quantity
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

COMPUTE = ("cpu", "memory", "ephemeral-storage")
OBJECTS = {
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
    "pods": "pods",
    "replicationcontrollers": "replicationcontrollers",
    "resourcequotas": "resourcequotas",
    "secrets": "secrets",
    "services": "services",
}
"""Names that count objects of the core group, and the resource that each counts."""
SCOPES = ("BestEffort", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating")
_STANDARD = frozenset(
    {*OBJECTS, *COMPUTE, "requests.storage", "services.loadbalancers", "services.nodeports"}
    | {f"{kind}.{name}" for kind in ("requests", "limits") for name in COMPUTE}
)
_POD_ONLY = "unsupported scope applied to resource"


def counts_pods(name: str) -> bool:
    """Whether a quota's resource is about pods, so that scopes apply to it."""
    return name in ("pods", "count/pods", *COMPUTE) or (
        name.startswith(("requests.", "limits.")) and name != "requests.storage"
    )


class ResourceQuotas(BuiltIn):
    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        spec = obj.get("spec") or {}
        found: list[FieldError] = []
        for name, text in (spec.get("hard") or {}).items():
            here, value = f"spec.hard[{name}]", quantity(text)
            if "/" not in name and name not in _STANDARD:
                found.append(field.invalid(here, name, "must be a standard resource for quota"))
            elif "/" in name:
                found += [field.invalid(here, name, problem) for problem in names.qualified_name(name)]
            if value is None:
                pattern = "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                found.append(field.invalid(here, text, f"quantities must match the regular expression {pattern}"))
            elif value < 0:
                found.append(field.invalid(here, text, "must be greater than or equal to 0"))
            elif (name in OBJECTS or name.startswith("count/")) and value != value.to_integral_value():
                found.append(field.invalid(here, text, "must be an integer"))
        found += self._scopes(spec)
        if old is not None and sorted(spec.get("scopes") or []) != sorted((old.get("spec") or {}).get("scopes") or []):
            found.append(field.invalid("spec.scopes", spec.get("scopes") or [], "field is immutable"))
        return found

    def _scopes(self, spec: Object) -> list[FieldError]:
        scopes = spec.get("scopes") or []
        found: list[FieldError] = []
        for one in scopes:
            if one not in SCOPES:
                found.append(field.invalid("spec.scopes", scopes, "unsupported scope"))
            else:
                found += [
                    field.invalid("spec.scopes", scopes, f"{_POD_ONLY}: {n}")
                    for n in spec.get("hard") or {}
                    if not counts_pods(n)
                ]
        for first, second in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
            if first in scopes and second in scopes:
                found.append(field.invalid("spec.scopes", scopes, "conflicting scopes"))
        return found
