"""Which resource, object and verb a path and method mean (the RequestInfo of a real API server)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
# What may follow /namespaces/{name} and is a subresource of the namespace, not a resource in it.
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Target:
    """Names are as in the path; verb is as RBAC knows it."""

    verb: str
    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    rest: str = ""

    @property
    def resource_text(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def is_true(value: str | None) -> bool:
    """Booleans of query parameters: present and not false."""
    return value is not None and value.lower() not in ("false", "0")


def target(method: str, parts: list[str], query: Mapping[str, str]) -> Target | None:
    """parts: the path's segments after the leading slash. None: not a path below a group version."""
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    plural = rest[0]
    name = rest[1] if len(rest) > 1 else None
    subresource = rest[2] if len(rest) > 2 else None
    if plural == "namespaces" and name:
        namespace = None
    verb = _verb(method, name, query)
    return Target(verb, group, version, plural, namespace, name, subresource, "/".join(rest[3:]))


def _verb(method: str, name: str | None, query: Mapping[str, str]) -> str:
    if method in ("GET", "HEAD"):
        if name is not None:
            return "get"
        return "watch" if is_true(query.get("watch")) else "list"
    if method == "DELETE":
        return "delete" if name is not None else "deletecollection"
    return _VERBS.get(method, method.lower())
