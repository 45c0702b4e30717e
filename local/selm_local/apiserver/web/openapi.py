"""OpenAPI v3: an index, and one document a group version. kubectl reads them to explain, to validate and to print.

Built-in kinds come from the published schemas, custom ones from their CRD. Operations carry what clients look for
(kind, action, parameters), not their every answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from selm_local.apiserver import builtin
from selm_local.apiserver.catalog import Catalog
from selm_local.apiserver.kinds.custom import Custom
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.storage import Object, encode
from selm_local.apiserver.web import discovery

_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_BODY_TYPES = ("application/json", "application/yaml")
_WRITE = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
    "pretty",
)
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy", "pretty")
_PARAMETER_TYPES = {
    "allowWatchBookmarks": "boolean",
    "force": "boolean",
    "gracePeriodSeconds": "integer",
    "limit": "integer",
    "orphanDependents": "boolean",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}
# verb -> (HTTP method, on the collection?, x-kubernetes-action, query parameters)
_OPERATIONS: dict[str, tuple[str, bool, str, tuple[str, ...]]] = {
    "list": ("get", True, "list", _LIST),
    "create": ("post", True, "post", _WRITE),
    "deletecollection": ("delete", True, "deletecollection", (*_LIST, *_DELETE)),
    "get": ("get", False, "get", ("pretty",)),
    "update": ("put", False, "put", _WRITE),
    "patch": ("patch", False, "patch", (*_WRITE, "force")),
    "delete": ("delete", False, "delete", _DELETE),
}


class OpenApi:
    """Documents, made when asked for and kept until the catalog changes."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._revision = -1
        self._documents: dict[str, bytes] = {}

    def index(self) -> bytes:
        paths = {}
        for path in self._paths():
            document = self.document(path) or b""
            digest = hashlib.sha256(document).hexdigest().upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return encode({"paths": paths})

    def document(self, path: str) -> bytes | None:
        """`api/v1` or `apis/<group>/<version>`; None where nothing of it is served."""
        if self._revision != self._catalog.revision:
            self._documents, self._revision = {}, self._catalog.revision
        if path not in self._documents:
            group, version = _group_version(path)
            found = [r for r in self._catalog if (r.group, r.version) == (group, version)]
            if not found or path not in self._paths():
                return None
            self._documents[path] = encode(self._build(found))
        return self._documents[path]

    def _paths(self) -> list[str]:
        pairs = sorted({(r.group, r.version) for r in self._catalog})
        return [f"apis/{g}/{v}" if g else f"api/{v}" for g, v in pairs]

    def _build(self, resources: list[Resource]) -> Object:
        schemas: dict[str, Any] = {}
        paths: dict[str, Any] = {}
        for resource in resources:
            name = self._add_schemas(resource, schemas)
            paths |= dict(_path_items(resource, name))
        _close(schemas)
        info = {"title": "Kubernetes", "version": discovery.version_info()["gitVersion"]}
        return {
            "openapi": "3.0.0",
            "info": info,
            "paths": {p: paths[p] for p in sorted(paths)},
            "components": {"schemas": {k: schemas[k] for k in sorted(schemas)}},
        }

    def _add_schemas(self, resource: Resource, schemas: dict[str, Any]) -> str:
        strategy = self._catalog.strategy(resource)
        if not isinstance(strategy, Custom):
            name = builtin.definition_name(resource.group, resource.version, resource.kind)
            if name is None:
                raise ValueError(f"no published schema of {resource}")
            for full in (name, builtin.definition_name(resource.group, resource.version, resource.list_kind)):
                if full is not None:
                    schemas[full] = _converted(builtin.definitions()[full])
            for sub in resource.subresources:
                found = builtin.definition_name(sub.group, sub.version or "v1", sub.kind) if sub.kind else None
                if found is not None:
                    schemas[found] = _converted(builtin.definitions()[found])
            return name
        name = ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])
        schemas[name] = _custom(strategy, resource)
        schemas[name + "List"] = _custom_list(resource, name)
        return name


def _group_version(path: str) -> tuple[str, str]:
    match path.split("/"):
        case ["api", version]:
            return "", version
        case ["apis", group, version]:
            return group, version
    return "", ""


# --- schemas


def _converted(schema: Any) -> Any:
    """From JSON schema with nullable types, as published, to OpenAPI v3."""
    if isinstance(schema, list):
        return [_converted(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "properties":
                result[key] = {name: _converted(inner) for name, inner in value.items()}
            case "type" if isinstance(value, list):
                result[key] = next(t for t in value if t != "null")
            case "$ref":
                reference = {"$ref": _REF + value.removeprefix("#/$defs/")}
                if len(schema) == 1:
                    return reference
                result["allOf"] = [reference]
            case "items" | "additionalProperties" | "oneOf":
                result[key] = _converted(value)
            case "$schema":
                continue
            case _:
                result[key] = value
    return result


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(_REF)
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


def _close(schemas: dict[str, Any]) -> None:
    """Add every schema that is referred to."""
    todo = list(schemas)
    while todo:
        for name in _references(schemas[todo.pop()]):
            if name not in schemas:
                schemas[name] = _converted(builtin.definitions()[name])
                todo.append(name)


def _reference(name: str) -> Object:
    return {"allOf": [{"$ref": _REF + name}], "default": {}}


def _type_meta() -> Object:
    published = builtin.definitions()[_META + "DeleteOptions"]["properties"]
    return {name: {"type": "string", "description": published[name]["description"]} for name in ("apiVersion", "kind")}


def _kind_of(resource: Resource, kind: str) -> list[Object]:
    return [{"group": resource.group, "version": resource.version, "kind": kind}]


def _custom(strategy: Custom, resource: Resource) -> Object:
    schema = dict(strategy.schema.open_api)
    own = dict(schema.get("properties") or {})
    metadata = {**_reference(_META + "ObjectMeta"), "description": "Standard object's metadata."}
    schema["properties"] = {**own, **_type_meta(), "metadata": metadata}
    schema["x-kubernetes-group-version-kind"] = _kind_of(resource, resource.kind)
    return schema


def _custom_list(resource: Resource, name: str) -> Object:
    return {
        "description": f"{resource.list_kind} is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_type_meta(),
            "items": {"type": "array", "items": {"$ref": _REF + name}},
            "metadata": _reference(_META + "ListMeta"),
        },
        "x-kubernetes-group-version-kind": _kind_of(resource, resource.list_kind),
    }


# --- paths


def _path_items(resource: Resource, schema: str) -> Iterator[tuple[str, Object]]:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    place = f"{root}/namespaces/{{namespace}}" if resource.namespaced else root
    in_path = ("namespace",) if resource.namespaced else ()
    verbs = resource.verbs
    collection = _operations(resource, schema, verbs, True)
    if collection:
        yield f"{place}/{resource.plural}", {**collection, "parameters": _path_parameters(in_path)}
    if resource.namespaced and "list" in verbs:
        yield f"{root}/{resource.plural}", _operations(resource, schema, ("list",), True)
    single = _operations(resource, schema, verbs, False)
    if single:
        parameters = _path_parameters((*in_path, "name"))
        yield f"{place}/{resource.plural}/{{name}}", {**single, "parameters": parameters}
    for sub in resource.subresources:
        found = _operations(resource, schema, tuple(v for v in sub.verbs if v != "create"), False)
        if "create" in sub.verbs:
            found["post"] = _operation(resource, schema, "post", _WRITE)
        parameters = _path_parameters((*in_path, "name"))
        yield f"{place}/{resource.plural}/{{name}}/{sub.name}", {**found, "parameters": parameters}


def _operations(resource: Resource, schema: str, verbs: Iterable[str], collection: bool) -> Object:
    found: Object = {}
    for verb in verbs:
        if verb not in _OPERATIONS:
            continue
        method, on_collection, action, query = _OPERATIONS[verb]
        if on_collection == collection:
            found[method] = _operation(resource, schema, action, query)
    return found


def _operation(resource: Resource, schema: str, action: str, query: tuple[str, ...]) -> Object:
    content = {t: {"schema": {"$ref": _REF + schema}} for t in _BODY_TYPES}
    found: Object = {
        "tags": [f"{resource.group or 'core'}_{resource.version}"],
        "operationId": f"{action}{resource.kind}",
        "parameters": [
            {
                "name": name,
                "in": "query",
                "schema": {"type": _PARAMETER_TYPES.get(name, "string"), "uniqueItems": True},
            }
            for name in query
        ],
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _kind_of(resource, resource.kind)[0],
    }
    if action in ("post", "put"):
        found["requestBody"] = {"content": content, "required": True}
    return found


def _path_parameters(names: tuple[str, ...]) -> list[Object]:
    return [
        {"name": n, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}} for n in names
    ]
