"""What is asked of a written object before the server makes it its own: where it is to lie, how it decodes, whom it meets.

Functions of the request, the kind's strategy and what is stored; each raises the error that a real server answers with.
"""

from __future__ import annotations

from typing import Any

from selm_local.apiserver import errors, meta
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.kinds.base import DecodeError, Strategy
from selm_local.apiserver.requests import WriteRequest
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema import names
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object, Stored


def target_namespace(resource: Resource, namespace: str | None, obj: Object) -> str | None:
    sent = meta.metadata(obj).get("namespace")
    if not resource.namespaced:
        return None
    if not namespace:
        raise errors.bad_request("namespace is required")
    if sent and sent != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    return namespace


def decode(strategy: Strategy, obj: Object, request: WriteRequest) -> Object:
    resource = strategy.resource
    prefix = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    try:
        decoded = strategy.decode(obj)
    except DecodeError as e:
        raise errors.bad_request(prefix + str(e)) from None
    found = complaints(decoded.unknown, request)
    if found:
        raise errors.bad_request(prefix + "strict decoding error: " + ", ".join(found))
    return decoded.object


def complaints(unknown: list[str], request: WriteRequest) -> list[str]:
    """What strict decoding refuses; under Warn it becomes warnings."""
    if request.field_validation == "Ignore":
        return []
    found = [f'duplicate field "{p}"' for p in request.duplicates] + [f'unknown field "{p}"' for p in unknown]
    if request.field_validation == "Warn":
        request.warnings += found
        return []
    return found


def same_place(resource: Resource, obj: Object, namespace: str | None, name: str) -> None:
    found = meta.metadata(obj)
    if found.get("name") != name:
        raise errors.bad_request(
            f"the name of the object ({found.get('name')}) does not match the name on the URL ({name})"
        )
    if resource.namespaced and found.get("namespace") not in (None, namespace):
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def check_preconditions(resource: Resource, stored: Stored, sent: dict[str, Any]) -> None:
    uid = stored.object["metadata"]["uid"]
    if sent.get("uid") not in (None, "", uid):
        key = "/".join(x for x in ("/registry", resource.group, resource.plural, stored.namespace, stored.name) if x)
        why = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {sent['uid']}, UID in object meta: {uid}"
        )
        raise errors.conflict(resource.group, resource.plural, stored.name, why)
    version = sent.get("resourceVersion")
    if version and version != str(stored.version):
        raise errors.modified(resource.group, resource.plural, stored.name)


def meta_problems(strategy: Strategy, obj: Object, old: Object | None) -> list[FieldError]:
    found = meta.metadata(obj)
    if old is None:
        return [] if strategy.validates_metadata else names.object_meta(found, name_check=strategy.validate_name)
    # A real server checks metadata before an update and again with the kind, and lists what it finds both times.
    problems = names.object_meta(found, name_check=strategy.validate_name, old=old["metadata"])
    return problems * (1 if strategy.validates_metadata else 2) + meta.finalizer_problems(found, old["metadata"]) * 2


def refuse_if(strategy: Strategy, obj: Object, problems: list[FieldError]) -> None:
    if problems:
        kind = obj.get("kind") or strategy.resource.kind
        raise errors.invalid(strategy.resource.group, kind, name_of(obj), problems)


def decode_applied(strategy: Strategy, applied: Any, namespace: str | None, name: str, request: WriteRequest) -> Object:
    """The object of an apply patch, once it names what its path names and holds only declared fields."""
    resource = strategy.resource
    if not request.manager:
        problem = field.required("fieldManager", "is required for apply patch")
        raise errors.invalid("meta.k8s.io", "PatchOptions", "", [problem])
    if not isinstance(applied, dict):
        raise errors.bad_request("error decoding YAML: an apply patch must be an object")
    if meta.metadata(applied).get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    if (applied.get("apiVersion"), applied.get("kind")) != (resource.api_version, resource.kind):
        raise errors.bad_request(
            f"apply patch is for {applied.get('apiVersion')}, Kind={applied.get('kind')}; "
            f"the path is for {resource.api_version}, Kind={resource.kind}"
        )
    meta.metadata(applied).setdefault("name", name)
    same_place(resource, applied, namespace, name)
    decoded = strategy.decode_applied(applied)
    if decoded.unknown:
        listed = ", ".join(f".{path}: field not declared in schema" for path in decoded.unknown)
        where = f"{namespace or ''}/{name}; {resource.api_version}, Kind={resource.kind}"
        raise ApiError(500, "", f"failed to create typed patch object ({where}): {listed}")
    decoded_object: Object = decoded.object
    return decoded_object


def name_of(obj: Object) -> str:
    return str(meta.metadata(obj).get("name") or "")
