"""What a pod refers to: the Secrets and ConfigMaps of its environment and volumes, and its own fields."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from selm_local.controllers.objects import Obj, meta, name_of, namespace_of, uid_of
from selm_local.quantity import parse_quantity

Kind = Literal["Secret", "ConfigMap"]
NODE_ADDRESS = "127.0.0.1"
_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['([^']+)'\]")
_EXPANSION = re.compile(r"\$(?:(\$)|\(([^()$]+)\))")


class ConfigError(Exception):
    """A container's configuration cannot be made now: waiting reason CreateContainerConfigError."""


@dataclass(frozen=True)
class Sources:
    """Secrets and ConfigMaps of one namespace by name, and the node's allocatable resources.

    token: mints the pod's token for a projected serviceAccountToken source; None where the node cannot.
    """

    secrets: dict[str, Obj] = field(default_factory=dict)
    config_maps: dict[str, Obj] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)
    token: Callable[[Obj], str] | None = None

    def data(self, kind: Kind, name: str) -> dict[str, bytes] | None:
        """The keys and values of a Secret or ConfigMap; None where there is none of that name."""
        if kind == "Secret":
            found = self.secrets.get(name)
            return None if found is None else _decoded(found.get("data"))
        found = self.config_maps.get(name)
        if found is None:
            return None
        plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return plain | _decoded(found.get("binaryData"))


def _decoded(data: dict[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (data or {}).items()}


def containers_of(pod: Obj) -> Iterator[Obj]:
    """Init containers, then containers."""
    yield from pod["spec"].get("initContainers") or []
    yield from pod["spec"]["containers"]


def references(pod: Obj) -> set[tuple[Kind, str]]:
    """The Secrets and ConfigMaps that the pod's environment and volumes name, optional ones included."""
    found: set[tuple[Kind, str]] = set()

    def add(kind: Kind, name: str | None) -> None:
        if name:
            found.add((kind, name))

    for container in containers_of(pod):
        for one in container.get("envFrom") or []:
            add("Secret", (one.get("secretRef") or {}).get("name"))
            add("ConfigMap", (one.get("configMapRef") or {}).get("name"))
        for one in container.get("env") or []:
            value_from = one.get("valueFrom") or {}
            add("Secret", (value_from.get("secretKeyRef") or {}).get("name"))
            add("ConfigMap", (value_from.get("configMapKeyRef") or {}).get("name"))
    for volume in pod["spec"].get("volumes") or []:
        add("Secret", (volume.get("secret") or {}).get("secretName"))
        add("ConfigMap", (volume.get("configMap") or {}).get("name"))
        for part in (volume.get("projected") or {}).get("sources") or []:
            add("Secret", (part.get("secret") or {}).get("name"))
            add("ConfigMap", (part.get("configMap") or {}).get("name"))
    return found


def environment(pod: Obj, container: Obj, sources: Sources) -> dict[str, str]:
    """The variables that the pod gives a container: envFrom, then env, with `$(NAME)` expanded in order.

    Raises:
        ConfigError: a Secret, ConfigMap or key that is not optional is missing.
    """
    env: dict[str, str] = {}
    for one in container.get("envFrom") or []:
        for kind, key in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
            reference = one.get(key)
            if reference is None:
                continue
            data = sources.data(kind, reference["name"])  # type: ignore[arg-type]
            if data is None:
                if not reference.get("optional"):
                    raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
                continue
            for name, value in sorted(data.items()):
                env[f"{one.get('prefix', '')}{name}"] = value.decode(errors="replace")
    for one in container.get("env") or []:
        if "valueFrom" not in one:
            env[one["name"]] = expand(one.get("value", ""), env)
            continue
        found = _value_from(pod, container, one["valueFrom"], sources)
        if found is not None:
            env[one["name"]] = found
    return env


def expand(text: str, env: dict[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value; `$$` stands for one `$`; unknown names stay as they are."""

    def replacement(match: re.Match[str]) -> str:
        if match.group(1):
            return "$"
        return env.get(match.group(2), match.group(0))

    return _EXPANSION.sub(replacement, text)


def _value_from(pod: Obj, container: Obj, source: Obj, sources: Sources) -> str | None:
    for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
        reference = source.get(key)
        if reference is None:
            continue
        data = sources.data(kind, reference["name"])  # type: ignore[arg-type]
        if data is not None and reference["key"] in data:
            return data[reference["key"]].decode(errors="replace")
        if reference.get("optional"):
            return None
        if data is None:
            raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
        where = f"{kind} {namespace_of(pod)}/{reference['name']}"
        raise ConfigError(f"couldn't find key {reference['key']} in {where}")
    if (reference := source.get("fieldRef")) is not None:
        return field_value(pod, reference["fieldPath"])
    if (reference := source.get("resourceFieldRef")) is not None:
        named = reference.get("containerName")
        chosen = next((one for one in containers_of(pod) if one["name"] == named), container)
        return resource_value(chosen, reference["resource"], reference.get("divisor"), sources.allocatable)
    raise ConfigError(f"valueFrom has none of secretKeyRef, configMapKeyRef, fieldRef, resourceFieldRef: {source}")


def field_value(pod: Obj, path: str) -> str:
    """A field of the pod as text, as the downward API gives it.

    Raises:
        ConfigError: the path is none that the downward API knows.
    """
    if match := _SUBSCRIPT.fullmatch(path):
        return str((meta(pod).get(match.group(1).removeprefix("metadata.")) or {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = meta(pod).get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(entries.items()))
    values = {
        "metadata.name": name_of(pod),
        "metadata.namespace": namespace_of(pod),
        "metadata.uid": uid_of(pod),
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.hostIP": NODE_ADDRESS,
        "status.hostIPs": NODE_ADDRESS,
        "status.podIP": NODE_ADDRESS,
        "status.podIPs": NODE_ADDRESS,
    }
    if path not in values:
        raise ConfigError(f"fieldPath {path!r} is not known; allowed: {', '.join(values)}, metadata.labels['…']")
    return str(values[path])


def resource_value(container: Obj, resource: str, divisor: str | int | None, allocatable: dict[str, str]) -> str:
    """A container's limit or request as a whole number of divisors, rounded up; the node's where none is set.

    Raises:
        ConfigError: the resource is none of limits.… and requests.….
    """
    side, _, name = resource.partition(".")
    if side not in ("limits", "requests") or not name:
        raise ConfigError(f"resource {resource!r} is not known; allowed: limits.cpu, requests.memory and the like")
    resources = container.get("resources") or {}
    value = (resources.get(side) or {}).get(name)
    if value is None and side == "limits":
        value = allocatable.get(name, 0)
    unit = parse_quantity(divisor) if divisor not in (None, 0, "0") else parse_quantity(1)
    return str(math.ceil(parse_quantity(value or 0) / unit))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
