"""Namespaces, nodes, ConfigMaps, Secrets, ServiceAccounts, Leases, RBAC, PriorityClasses."""

# ruff: noqa: ARG002 - hooks share one signature
from __future__ import annotations

import base64
import json
import re

from selm_local.apiserver.errors import not_implemented
from selm_local.apiserver.kinds.base import Decoded
from selm_local.apiserver.kinds.builtin import BuiltIn, at_least, immutable, one_of, path_segment
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

MAX_DATA = 1024 * 1024
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
TOKEN_SECRET = "kubernetes.io/service-account-token"
ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"
NAMESPACE_FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


def _validate_keys(data: Object, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key in data:
        here = f"{path}[{key}]"
        if len(key) > 253:
            found.append(field.invalid(here, key, "must be no more than 253 characters"))
        if not _KEY.fullmatch(key) or key in (".", ".."):
            text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name')"
            found.append(field.invalid(here, key, text))
    return found


def _frozen(obj: Object, old: Object | None, parts: tuple[str, ...]) -> list[FieldError]:
    """An `immutable: true` object keeps its data, and stays immutable."""
    if old is None or not old.get("immutable"):
        return []
    found: list[FieldError] = []
    if not obj.get("immutable"):
        found.append(field.forbidden("immutable", "field is immutable when `immutable` is set"))
    for part in parts:
        if obj.get(part) != old.get(part):
            found.append(field.forbidden(part, "field is immutable when `immutable` is set"))
    return found


class ConfigMaps(BuiltIn):
    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        found = _validate_keys(data, "data") + _validate_keys(binary, "binaryData")
        found += [field.invalid(f"binaryData[{k}]", k, "duplicate of key present in data") for k in binary if k in data]
        if sum(len(v.encode()) for v in [*data.values(), *binary.values()]) > MAX_DATA:
            found.append(field.too_long("", MAX_DATA))
        return found + _frozen(obj, old, ("data", "binaryData"))


def _docker_problems(kind: str, data: Object) -> list[FieldError]:
    """Registry credentials must be JSON; what they are is not told."""
    key = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}.get(kind)
    if key is None or key not in data:
        return []
    try:
        json.loads(base64.b64decode(data[key]))
    except ValueError as e:
        return [field.invalid(f"data[{key}]", "<secret contents redacted>", str(e))]
    return []


class Secrets(BuiltIn):
    _REQUIRED = {  # noqa: RUF012 - a constant table
        "kubernetes.io/dockercfg": (".dockercfg",),
        "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
        "kubernetes.io/ssh-auth": ("ssh-privatekey",),
        "kubernetes.io/tls": ("tls.crt", "tls.key"),
    }

    def default(self, obj: Object) -> Object:
        obj.setdefault("type", "Opaque")
        texts = obj.pop("stringData", None)
        if texts:
            encoded = {k: base64.b64encode(v.encode()).decode() for k, v in texts.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}
        return obj

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        data = obj.get("data") or {}
        found = _validate_keys(data, "data")
        if sum(len(v) * 3 // 4 for v in data.values()) > MAX_DATA:
            found.append(field.too_long("data", MAX_DATA))
        found += [field.required(f"data[{k}]") for k in self._REQUIRED.get(obj["type"], ()) if k not in data]
        found += _docker_problems(obj["type"], data)
        if obj["type"] == "kubernetes.io/basic-auth" and not ("username" in data or "password" in data):
            found += [field.required("data[username]"), field.required("data[password]")]
        if obj["type"] == TOKEN_SECRET:
            if not (obj["metadata"].get("annotations") or {}).get(ACCOUNT_ANNOTATION):
                found.append(field.required(f"metadata.annotations[{ACCOUNT_ANNOTATION}]"))
            elif not found and old is None:
                raise not_implemented("Secrets that a token is written to; ask for one at serviceaccounts/<name>/token")
        if old is not None:
            found += immutable("type", obj["type"], old.get("type"))
        return found + _frozen(obj, old, ("data",))

    def selectable(self, name: str) -> bool:
        return super().selectable(name) or name == "type"


class ServiceAccounts(BuiltIn):
    returns_deleted = True


class Namespaces(BuiltIn):
    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
        if NAMESPACE_FINALIZER not in finalizers:
            finalizers.append(NAMESPACE_FINALIZER)

    def default(self, obj: Object) -> Object:
        name = obj["metadata"].get("name")
        if name:
            obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name
        return obj

    def initial_status(self, obj: Object) -> Object:
        return {"phase": "Active"}

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        obj["spec"] = old["spec"]  # finalizers change through their own subresource

    def prepare_subresource(self, subresource: str, obj: Object, old: Object) -> Object:
        if subresource == "finalize":
            return {**old, "metadata": obj["metadata"], "spec": obj.get("spec") or {}}
        return self.prepare_status(obj, old)

    def validate_name(self, name: str) -> list[str]:
        return names.dns1123_label(name)

    def may_go(self, obj: Object) -> bool:
        return super().may_go(obj) and not (obj.get("spec") or {}).get("finalizers")

    def mark_deleted(self, obj: Object) -> None:
        obj.setdefault("status", {})["phase"] = "Terminating"

    def selectable(self, name: str) -> bool:
        return name in ("metadata.name", "status.phase")


class Nodes(BuiltIn):
    def selectable(self, name: str) -> bool:
        return name in ("metadata.name", "spec.unschedulable")


class Leases(BuiltIn):
    create_on_update = True
    unconditional_update = False

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        spec, found = obj.get("spec") or {}, []
        if spec.get("holderIdentity") == "":
            found.append(field.invalid("spec.holderIdentity", "", "must not be empty"))
        duration = spec.get("leaseDurationSeconds")
        if duration is not None and duration <= 0:
            found.append(field.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        return found + at_least("spec.leaseTransitions", spec.get("leaseTransitions"), 0)


class RoleLike(BuiltIn):
    create_on_update = True

    def blank_parts(self) -> Object:
        return {"rules": None}

    def validate_name(self, name: str) -> list[str]:
        return path_segment(name)

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        found: list[FieldError] = []
        for i, rule in enumerate(obj.get("rules") or []):
            here, paths = f"rules[{i}]", rule.get("nonResourceURLs") or []
            if not rule.get("verbs"):
                found.append(field.required(f"{here}.verbs", "verbs must contain at least one value"))
            if paths:
                if self.resource.namespaced:
                    text = "namespaced rules cannot apply to non-resource URLs"
                    found.append(field.invalid(f"{here}.nonResourceURLs", paths, text))
                if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                    text = "rules cannot apply to both regular resources and non-resource URLs"
                    found.append(field.invalid(f"{here}.nonResourceURLs", paths, text))
                continue
            if not rule.get("apiGroups"):
                text = "resource rules must supply at least one api group"
                found.append(field.required(f"{here}.apiGroups", text))
            if not rule.get("resources"):
                text = "resource rules must supply at least one resource"
                found.append(field.required(f"{here}.resources", text))
        return found


class RoleBindingLike(BuiltIn):
    create_on_update = True

    def blank_parts(self) -> Object:
        return {"roleRef": {"apiGroup": "", "kind": "", "name": ""}}

    def validate_name(self, name: str) -> list[str]:
        return path_segment(name)

    def decode(self, obj: Object) -> Decoded:
        found = super().decode(obj)
        for subject in found.object.get("subjects") or []:
            if subject.get("kind") in ("User", "Group"):
                subject.setdefault("apiGroup", "rbac.authorization.k8s.io")
        role = found.object.get("roleRef")
        if role is not None and not role.get("apiGroup"):
            role["apiGroup"] = "rbac.authorization.k8s.io"
        return found

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        found: list[FieldError] = []
        role = obj.get("roleRef") or {}
        kinds = ("Role", "ClusterRole") if self.resource.namespaced else ("ClusterRole",)
        if role.get("kind") not in kinds:
            found.append(field.not_supported("roleRef.kind", role.get("kind", ""), kinds))
        if not role.get("name"):
            found.append(field.required("roleRef.name"))
        for i, subject in enumerate(obj.get("subjects") or []):
            here, kind = f"subjects[{i}]", subject.get("kind", "")
            if not subject.get("name"):
                found.append(field.required(f"{here}.name"))
            if kind not in ("ServiceAccount", "User", "Group"):
                found.append(field.not_supported(f"{here}.kind", kind, ("ServiceAccount", "User", "Group")))
            if kind == "ServiceAccount" and not subject.get("namespace"):
                found.append(field.required(f"{here}.namespace"))
        if old is not None and role != old["roleRef"]:
            found.append(field.invalid("roleRef", role, "cannot change roleRef"))
        return found


class PriorityClasses(BuiltIn):
    def default(self, obj: Object) -> Object:
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
        return obj

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        found = one_of("preemptionPolicy", obj["preemptionPolicy"], ("Never", "PreemptLowerPriority"))
        name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
        if name.startswith("system-") and name not in SYSTEM_CLASSES:
            text = "priority class names with 'system-' prefix are reserved for system use only"
            found.append(field.forbidden("metadata.name", text))
        elif not name.startswith("system-") and value > 1_000_000_000:
            text = "maximum allowed value of a user defined priority is 1000000000"
            found.append(field.forbidden("value", text))
        if old is not None and value != old.get("value", 0):
            found.append(field.forbidden("value", "may not be changed in an update."))
        return found
