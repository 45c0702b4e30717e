"""Probes, ports, references and security contexts of containers: every refusal. Pure.

Source: kubernetes/pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from typing import Any

from selm_local.apiserver.kinds.builtin import at_least, one_of
from selm_local.apiserver.kinds.services import PROTOCOLS, port_reference, valid_port
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_FIELD = re.compile(r"(metadata\.(labels|annotations))\['([^']*)'\]")
FIELDS = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")
_MAX_ID = 2**31 - 1


def validate_probes(container: Object, path: str, *, init: bool) -> list[FieldError]:
    found: list[FieldError] = []
    for name in PROBES:
        probe, here = container.get(name), f"{path}.{name}"
        if probe is None:
            continue
        if init and container.get("restartPolicy") != "Always":
            text = "may not be set for init containers without restartPolicy=Always"
            found.append(field.forbidden(here, text))
            continue
        found += validate_handler(probe, here)
        for part in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
            found += at_least(f"{here}.{part}", probe.get(part), 0)
        if name != "readinessProbe" and probe["successThreshold"] != 1:
            found.append(field.invalid(f"{here}.successThreshold", probe["successThreshold"], "must be 1"))
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is not None and name == "readinessProbe":
            text = "must not be set for readinessProbes"
            found.append(field.invalid(f"{here}.terminationGracePeriodSeconds", grace, text))
        elif grace is not None and grace <= 0:
            found.append(field.invalid(f"{here}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return found


def validate_handler(probe: Object, path: str) -> list[FieldError]:
    """Exactly one of the ways to ask."""
    present = [name for name in HANDLERS if name in probe]
    if not present:
        return [field.required(path, "must specify a handler type")]
    found = [field.forbidden(f"{path}.{name}", "may not specify more than 1 handler type") for name in present[1:]]
    kind = present[0]
    handler, here = probe[kind], f"{path}.{kind}"
    if kind == "exec":
        return found + ([] if handler.get("command") else [field.required(f"{here}.command")])
    found += port_reference(f"{here}.port", handler.get("port"))
    if kind == "httpGet":
        if not handler.get("path"):
            found.append(field.required(f"{here}.path"))
        found += one_of(f"{here}.scheme", handler.get("scheme"), ("HTTP", "HTTPS"))
    return found


def validate_ports(ports: list[Object], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        here, name, number = f"{path}[{i}]", port.get("name"), port.get("containerPort")
        if name:
            found += port_reference(f"{here}.name", name)
            if name in seen:
                found.append(field.duplicate(f"{here}.name", name))
            seen.add(name)
        if not number:
            found.append(field.required(f"{here}.containerPort"))
        elif not valid_port(number):
            found.append(field.invalid(f"{here}.containerPort", number, "must be between 1 and 65535, inclusive"))
        if port.get("hostPort") and not valid_port(port["hostPort"]):
            found.append(field.invalid(f"{here}.hostPort", port["hostPort"], "must be between 1 and 65535, inclusive"))
        found += one_of(f"{here}.protocol", port["protocol"], PROTOCOLS)
    return found


def validate_field_reference(reference: Object, path: str) -> list[FieldError]:
    """A field of the pod as a variable's value."""
    where = reference.get("fieldPath") or ""
    here = f"{path}.fieldPath"
    if not where:
        return [field.required(here)]
    subscript = _FIELD.fullmatch(where)
    if subscript:
        key = subscript[3] if subscript[2] == "labels" else subscript[3].lower()
        return [field.invalid(here, where, text) for text in names.qualified_name(key)]
    if where in FIELDS:
        return []
    text = f"error converting fieldPath: field label not supported: {where}"
    return [field.invalid(here, where, text)]


def validate_security(context: Object | None, path: str) -> list[FieldError]:
    """A pod's or a container's."""
    found: list[FieldError] = []
    context = context or {}
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        value: Any = context.get(name)
        if value is not None and not 0 <= value <= _MAX_ID:
            found.append(field.invalid(f"{path}.{name}", value, f"must be between 0 and {_MAX_ID}, inclusive"))
    for i, group in enumerate(context.get("supplementalGroups") or []):
        if not 0 <= group <= _MAX_ID:
            text = f"must be between 0 and {_MAX_ID}, inclusive"
            found.append(field.invalid(f"{path}.supplementalGroups[{i}]", group, text))
    profile = context.get("seccompProfile")
    if profile is not None:
        here, kind = f"{path}.seccompProfile", profile.get("type")
        if not kind:
            found.append(field.required(f"{here}.type", "type is required when seccompProfile is set"))
        found += one_of(f"{here}.type", kind or None, SECCOMP)
        if kind == "Localhost" and not profile.get("localhostProfile"):
            found.append(field.required(f"{here}.localhostProfile", "must be set when seccomp type is Localhost"))
        elif kind != "Localhost" and profile.get("localhostProfile") is not None:
            text = "can only be set when seccomp type is Localhost"
            found.append(field.invalid(f"{here}.localhostProfile", profile["localhostProfile"], text))
    if context.get("allowPrivilegeEscalation") is False:
        added = (context.get("capabilities") or {}).get("add") or []
        if context.get("privileged"):
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            found.append(field.invalid(path, context, text))
        if "CAP_SYS_ADMIN" in added:
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            found.append(field.invalid(path, context, text))
    return found
