"""Pod specs, in pods and in the templates of Jobs: defaults and validation. Pure.

Sources: kubernetes/pkg/apis/core/v1/defaults.go and pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from selm_local.apiserver.kinds.builtin import at_least, one_of
from selm_local.apiserver.kinds.podprobes import (
    validate_field_reference,
    validate_ports,
    validate_probes,
    validate_security,
)
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

_RESOURCES = ("cpu", "memory", "ephemeral-storage")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DEFAULT_MODE = 0o644
_WITH_MODE = ("configMap", "downwardAPI", "projected", "secret")
_ENV_NAME = re.compile(r"[!-<>-~ ]+")
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_SUFFIX = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(text: str) -> Decimal | None:
    """The value of a resource quantity (`500m`, `8Gi`); None where it is none."""
    found = _QUANTITY.fullmatch(text)
    if not found:
        return None
    number, suffix = found.group(1), found.group(2) or ""
    try:
        value = Decimal(number)
        if suffix in _BINARY:
            return value * Decimal(2) ** _BINARY[suffix]
        if suffix[:1] in ("e", "E") and len(suffix) > 1:
            return value.scaleb(int(suffix[1:]))
        return value.scaleb(_SUFFIX[suffix])
    except (InvalidOperation, ValueError):
        return None


def blank_template() -> Object:
    """A pod template in which nothing is set, as Go writes it."""
    return {"metadata": {}, "spec": {"containers": None}}


# --- defaults


def default_pod_spec(spec: Object) -> None:
    """Fill in what Kubernetes fills in, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or []:
            _default_container(container)
    for volume in spec.get("volumes") or []:
        _default_volume(volume)


def _default_container(container: Object) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = "Always" if _is_latest(container.get("image") or "") else "IfNotPresent"
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    resources = container["resources"]
    limits = resources.get("limits")
    if limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _default_probe(container[name])


def _default_probe(probe: Object) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(name, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")
        probe["httpGet"].setdefault("path", "/")


def _is_latest(image: str) -> bool:
    if "@" in image:
        return False
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return tag in ("", "latest")


def _default_volume(volume: Object) -> None:
    if len(volume) <= 1:
        volume["emptyDir"] = {}
    for kind in _WITH_MODE:
        if kind in volume:
            volume[kind].setdefault("defaultMode", _DEFAULT_MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    sources = (volume.get("downwardAPI") or {}).get("items") or []
    for source in (volume.get("projected") or {}).get("sources") or []:
        sources = sources + ((source.get("downwardAPI") or {}).get("items") or [])
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    for item in sources:
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")


# --- validation


def validate_pod_spec(spec: Object, path: str) -> list[FieldError]:
    """Reasons to refuse a pod's spec at `path`."""
    found: list[FieldError] = []
    volumes = spec.get("volumes") or []
    found += _validate_volumes(volumes, f"{path}.volumes")
    volume_names = {v.get("name") for v in volumes}
    containers = spec.get("containers") or []
    if not containers:
        found.append(field.required(f"{path}.containers"))
    seen: set[str] = set()
    for key in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(key) or []):
            here = f"{path}.{key}[{i}]"
            found += _validate_container(container, here, volume_names, seen)
            found += validate_probes(container, here, init=key == "initContainers")
    found += one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    found += one_of(
        f"{path}.dnsPolicy", spec.get("dnsPolicy"), ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    )
    found += at_least(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"), 0)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        found.append(
            field.invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            found += [field.invalid(f"{path}.{name}", spec[name], text) for text in names.dns1123_label(spec[name])]
    if spec.get("serviceAccountName"):
        account = spec["serviceAccountName"]
        found += [field.invalid(f"{path}.serviceAccountName", account, t) for t in names.dns1123_subdomain(account)]
    found += names.label_map(spec.get("nodeSelector"), f"{path}.nodeSelector")
    found += validate_security(spec.get("securityContext"), f"{path}.securityContext")
    found += _validate_tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    return found


def _validate_volumes(volumes: list[Object], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, volume in enumerate(volumes):
        here, name = f"{path}[{i}]", volume.get("name") or ""
        if not name:
            found.append(field.required(f"{here}.name"))
        else:
            found += [field.invalid(f"{here}.name", name, text) for text in names.dns1123_label(name)]
        if name in seen:
            found.append(field.duplicate(f"{here}.name", name))
        seen.add(name)
        sources = [k for k in volume if k != "name"]
        for extra in sources[1:]:
            found.append(field.forbidden(f"{here}.{extra}", "may not specify more than 1 volume type"))
        for kind, key in (
            ("secret", "secretName"),
            ("configMap", "name"),
            ("hostPath", "path"),
            ("persistentVolumeClaim", "claimName"),
        ):
            if kind in volume and not volume[kind].get(key):
                found.append(field.required(f"{here}.{kind}.{key}"))
    return found


def _validate_container(container: Object, path: str, volumes: set[Any], seen: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    name = container.get("name") or ""
    if not name:
        found.append(field.required(f"{path}.name"))
    else:
        found += [field.invalid(f"{path}.name", name, text) for text in names.dns1123_label(name)]
    if name and name in seen:
        found.append(field.duplicate(f"{path}.name", name))
    seen.add(name)
    image = container.get("image") or ""
    if not image:
        found.append(field.required(f"{path}.image"))
    elif image != image.strip():
        found.append(field.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    found += one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never"))
    policies = ("File", "FallbackToLogsOnError")
    found += one_of(f"{path}.terminationMessagePolicy", container.get("terminationMessagePolicy"), policies)
    found += _validate_env(container.get("env") or [], f"{path}.env")
    found += _validate_mounts(container.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    found += _validate_resources(container.get("resources") or {}, f"{path}.resources")
    found += validate_ports(container.get("ports") or [], f"{path}.ports")
    return found + validate_security(container.get("securityContext"), f"{path}.securityContext")


def _validate_env(variables: list[Object], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for i, variable in enumerate(variables):
        here, name = f"{path}[{i}]", variable.get("name") or ""
        if not name:
            found.append(field.required(f"{here}.name"))
        elif not _ENV_NAME.fullmatch(name):
            text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            found.append(field.invalid(f"{here}.name", name, text))
        source = variable.get("valueFrom")
        if source is None:
            continue
        if variable.get("value"):
            found.append(field.invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty"))
        kinds = [
            k for k in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef") if k in source
        ]
        if len(kinds) != 1:
            text = (
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            )
            found.append(field.invalid(f"{here}.valueFrom", "", text))
        if "fieldRef" in source:
            found += validate_field_reference(source["fieldRef"], f"{here}.valueFrom.fieldRef")
        for kind in ("configMapKeyRef", "secretKeyRef"):
            for key in ("name", "key"):
                if kind in source and not source[kind].get(key):
                    found.append(field.required(f"{here}.valueFrom.{kind}.{key}"))
    return found


def _validate_mounts(mounts: list[Object], path: str, volumes: set[Any]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, mount in enumerate(mounts):
        here, where = f"{path}[{i}]", mount.get("mountPath") or ""
        if not mount.get("name"):
            found.append(field.required(f"{here}.name"))
        elif mount["name"] not in volumes:
            found.append(FieldError(f"{here}.name", "FieldValueNotFound", f"Not found: {field.quoted(mount['name'])}"))
        if not where:
            found.append(field.required(f"{here}.mountPath"))
        elif where in seen:
            found.append(field.invalid(f"{here}.mountPath", where, "must be unique"))
        seen.add(where)
        if ".." in (mount.get("subPath") or "").split("/"):
            found.append(field.invalid(f"{here}.subPath", mount["subPath"], "must not contain '..'"))
    return found


def _validate_resources(resources: Object, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for group, values in (("limits", limits), ("requests", requests)):
        for name, text in values.items():
            here, value = f"{path}.{group}[{name}]", quantity(text)
            if "/" not in name and name not in _RESOURCES and not name.startswith("hugepages-"):
                found.append(field.invalid(here, name, "must be a standard resource for containers"))
            if value is None:
                found.append(
                    field.invalid(
                        here,
                        text,
                        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                    )
                )
            elif value < 0:
                found.append(field.invalid(here, text, "must be greater than or equal to 0"))
            elif "/" in name and value != value.to_integral_value():
                found.append(field.invalid(here, text, "must be an integer"))
    for name, text in requests.items():
        if name not in limits:
            if "/" in name:
                found.append(field.required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
            continue
        value, limit = quantity(text), quantity(limits[name])
        if value is None or limit is None:
            continue
        if "/" in name and value != limit:
            found.append(field.invalid(f"{path}.requests", text, f"must be equal to {name} limit of {limits[name]}"))
        elif value > limit:
            text_of = f"must be less than or equal to {name} limit of {limits[name]}"
            found.append(field.invalid(f"{path}.requests", text, text_of))
    return found


def _validate_tolerations(tolerations: Iterable[Object], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for i, toleration in enumerate(tolerations):
        here = f"{path}[{i}]"
        found += one_of(f"{here}.operator", toleration.get("operator"), ("Equal", "Exists", "Lt", "Gt"))
        found += one_of(
            f"{here}.effect", toleration.get("effect") or None, ("NoSchedule", "PreferNoSchedule", "NoExecute")
        )
        if not toleration.get("key") and toleration.get("operator") != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(field.invalid(f"{here}.operator", toleration.get("operator") or "", text))
        if toleration.get("key"):
            key = toleration["key"]
            found += [field.invalid(f"{here}.key", key, problem) for problem in names.qualified_name(key)]
        if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(field.invalid(f"{here}.effect", toleration.get("effect") or "", text))
        if toleration.get("operator") == "Exists" and toleration.get("value"):
            found.append(field.invalid(f"{here}.operator", "Exists", "value must be empty when `operator` is 'Exists'"))
    return found
