"""Create, update and patch: admission, defaulting, validation, ownership of fields, optimistic locking, no-ops.

All synchronous: a write is one step of the event loop, from reading the state to its commit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Literal

from selm_local.apiserver import errors, meta, patch
from selm_local.apiserver.access import User
from selm_local.apiserver.catalog import Catalog
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.kinds.base import DecodeError, Strategy
from selm_local.apiserver.patch import FieldRequest
from selm_local.apiserver.patching import from_patch_error, patch_refused, patched
from selm_local.apiserver.quota import Quotas
from selm_local.apiserver.requests import PatchType, WriteRequest, Written
from selm_local.apiserver.resources import NAMESPACES, Resource
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object, Storage, Stored
from selm_local.apiserver.write_checks import (
    check_preconditions,
    complaints,
    decode,
    decode_applied,
    meta_problems,
    name_of,
    refuse_if,
    same_place,
    target_namespace,
)

CUSTOM_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_GENERATE_TRIES = 8
Operation = Literal["Apply", "Update"]


class Writes:
    """The write half of the registry. clock: the current time, aware."""

    def __init__(self, storage: Storage, catalog: Catalog, clock: Callable[[], dt.datetime]):
        self._storage = storage
        self._catalog = catalog
        self._clock = clock
        self._quotas = Quotas(storage, catalog.stored)
        # The HTTP shell sets it: what of a user's writes of roles and bindings is refused.
        self.guard: Callable[[Resource, Object, Object | None, User], None] = lambda *_: None

    def create(self, resource: Resource, namespace: str | None, obj: Object, request: WriteRequest) -> Written:
        """`obj` becomes the server's."""
        strategy = self.strategy(resource)
        namespace = target_namespace(resource, namespace, obj)
        strategy.refuse_create()
        if meta.metadata(obj).get("resourceVersion") not in (None, "", "0") and not request.dry_run:
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        obj = decode(strategy, obj, request)
        self._check_namespace(resource, namespace, name_of(obj))
        return self._insert(strategy, namespace, obj, request, "Update")

    def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        obj: Object,
        request: WriteRequest,
        subresource: str | None = None,
    ) -> Written:
        """PUT. `obj` becomes the server's."""
        strategy = self.strategy(resource)
        namespace = target_namespace(resource, namespace, obj)
        obj = decode(strategy, obj, request)
        sent = meta.metadata(obj).get("name")
        if sent != name:
            if sent:
                raise errors.bad_request(f"the name of the object ({sent}) does not match the name on the URL ({name})")
            raise errors.bad_request("the name of the object (empty) must be given, as on the URL")
        stored = self._storage.get(resource.storage, namespace or "", name)
        if stored is None:
            if not strategy.create_on_update or subresource:
                raise errors.not_found(resource.group, resource.plural, name)
            self._check_namespace(resource, namespace, name)
            return self._insert(strategy, namespace, obj, request, "Update")
        version = meta.metadata(obj).get("resourceVersion")
        if not version and not strategy.unconditional_update:
            problem = FieldError(
                "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update"
            )
            raise errors.invalid(resource.group, resource.plural, name, [problem])
        return self._replace(strategy, stored, obj, request, subresource, "Update")

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        change: Any,
        patch_type: PatchType,
        request: WriteRequest,
        subresource: str | None = None,
    ) -> Written:
        """PATCH; `apply` creates what is not there."""
        strategy = self.strategy(resource)
        if patch_type == "strategic" and not strategy.strategic_patch:
            raise errors.unsupported_media_type(CUSTOM_PATCH_TYPES)
        stored = self._storage.get(resource.storage, namespace or "", name)
        if patch_type == "apply":
            return self._apply(strategy, namespace, name, stored, change, request, subresource)
        if stored is None:
            raise errors.not_found(resource.group, resource.plural, name)
        live = strategy.from_storage(stored.copy())
        new = patched(live, change, patch_type, resource)
        try:
            decoded = strategy.decode(new)
        except DecodeError as e:
            raise patch_refused(new, str(e)) from None
        found = complaints(decoded.unknown, request)
        if found:
            raise patch_refused(new, "strict decoding error: " + ", ".join(found))
        same_place(resource, decoded.object, namespace, name)
        return self._replace(strategy, stored, decoded.object, request, subresource, "Update")

    # --- the parts

    def strategy(self, resource: Resource) -> Strategy:
        current = self._catalog.current(resource)
        found = self._catalog.strategy(current) if current else None
        if found is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return found

    def _find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        stored = self._storage.get(resource.storage, namespace or "", name)
        return stored.object if stored else None

    def _check_namespace(self, resource: Resource, namespace: str | None, name: str) -> None:
        if namespace is None:
            return
        found = self._storage.get(NAMESPACES.storage, "", namespace)
        if found is None:
            raise errors.not_found("", "namespaces", namespace)
        if meta.being_deleted(found.object):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            refused = errors.forbidden(resource.group, resource.plural, name, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            refused.details = {**(refused.details or {}), "causes": [cause]}
            raise refused

    def _field_request(
        self, strategy: Strategy, request: WriteRequest, operation: Operation, sub: str | None
    ) -> FieldRequest:
        return FieldRequest(
            manager=request.manager,
            operation=operation,
            api_version=strategy.resource.api_version,
            time=meta.now_text(self._clock()),
            subresource=sub or "",
            reset=patch.reset_fields(sub or "", status_subresource=strategy.resource.has_status),
        )

    def _insert(
        self, strategy: Strategy, namespace: str | None, obj: Object, request: WriteRequest, operation: Operation
    ) -> Written:
        resource = strategy.resource
        found = meta.metadata(obj)
        generated = bool(found.get("generateName")) and not found.get("name")
        meta.fill_for_create(obj, namespace, self._clock())
        if request.user is not None:
            self.guard(resource, obj, None, request.user)
        obj = strategy.default(obj)
        # Who owns what is settled before the server adds its own: addresses, finalizers, selectors are nobody's.
        obj = self._owned(strategy, None, obj, request, operation, None)
        strategy.prepare_create(obj)
        strategy.admit(obj, self._find)
        meta.tidy(meta.metadata(obj))
        name = name_of(obj)
        refuse_if(strategy, obj, meta_problems(strategy, obj, None) + strategy.validate(obj, None))
        request.warnings += strategy.warnings(obj, None)
        self._quotas.admit(resource, obj)
        for _ in range(_GENERATE_TRIES):
            if self._storage.get(resource.storage, namespace or "", name) is None:
                break
            if not generated:
                raise errors.already_exists(resource.group, resource.plural, name)
            name = meta.metadata(obj)["name"] = meta.generated_name(found["generateName"])
        else:
            raise errors.already_exists(resource.group, resource.plural, name)
        if request.dry_run:
            return Written(obj, created=True)
        if strategy.converts:
            stored = self._storage.put(resource.storage, namespace or "", name, strategy.to_storage(obj))
            return Written(strategy.from_storage(stored.copy()), created=True)
        stored = self._storage.put(resource.storage, namespace or "", name, obj)
        return Written(stored.object, created=True, raw=stored.raw)

    def _replace(
        self,
        strategy: Strategy,
        stored: Stored,
        obj: Object,
        request: WriteRequest,
        subresource: str | None,
        operation: Operation,
    ) -> Written:
        resource = strategy.resource
        old = strategy.from_storage(stored.copy()) if strategy.converts else stored.object
        check_preconditions(resource, stored, meta.metadata(obj))
        meta.keep_from_old(obj, old)
        if request.user is not None:
            self.guard(resource, obj, old, request.user)
        obj = strategy.default(obj)
        if subresource is None:
            strategy.prepare_update(obj, old)
        else:
            obj = strategy.prepare_subresource(subresource, obj, old)
        meta.tidy(meta.metadata(obj))
        problems = meta_problems(strategy, obj, old)
        if subresource is None:
            problems += strategy.validate(obj, old)
        else:
            problems += strategy.validate_subresource(subresource, obj, old)
        refuse_if(strategy, obj, problems)
        request.warnings += strategy.warnings(obj, old)
        obj = self._owned(strategy, old, obj, request, operation, subresource)
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if obj == old:
            return Written(old, raw=None if strategy.converts else stored.raw)
        if request.dry_run:
            return Written(obj)
        if strategy.may_go(obj):
            # What watchers see in DELETED is the last stored state, as in the real store.
            self._storage.delete(stored.storage, stored.namespace, stored.name, stored.copy())
            return Written(obj)
        if strategy.converts:
            new = self._storage.put(stored.storage, stored.namespace, stored.name, strategy.to_storage(obj))
            return Written(strategy.from_storage(new.copy()))
        new = self._storage.put(stored.storage, stored.namespace, stored.name, obj)
        return Written(new.object, raw=new.raw)

    def _owned(
        self,
        strategy: Strategy,
        old: Object | None,
        obj: Object,
        request: WriteRequest,
        operation: Operation,
        subresource: str | None,
    ) -> Object:
        """The object with its managedFields as they are after this write (an apply has settled them already)."""
        if operation == "Apply":
            return obj
        field_request = self._field_request(strategy, request, operation, subresource)
        before = strategy.blank() if old is None else old
        result: Object = patch.settle(before, obj, field_request, strategy.merge_type(), created=old is None)
        return result

    def _apply(
        self,
        strategy: Strategy,
        namespace: str | None,
        name: str,
        stored: Stored | None,
        applied: Any,
        request: WriteRequest,
        subresource: str | None,
    ) -> Written:
        resource = strategy.resource
        decoded = decode_applied(strategy, applied, namespace, name, request)
        live = None if stored is None else strategy.from_storage(stored.copy())
        if live is None and subresource:
            raise errors.not_found(resource.group, resource.plural, name)
        version = meta.metadata(decoded).get("resourceVersion")
        if live is None and version:
            raise errors.modified(resource.group, resource.plural, name)
        field_request = self._field_request(strategy, request, "Apply", subresource)
        try:
            new = patch.apply(live, decoded, field_request, strategy.merge_type(), force=request.force)
        except patch.ApplyConflict as e:
            raise ApiError(e.code, e.reason, e.message, {"causes": e.causes}) from None
        except patch.PatchError as e:
            raise from_patch_error(e) from None
        if stored is None:
            namespace = target_namespace(resource, namespace, new)
            self._check_namespace(resource, namespace, name)
            return self._insert(strategy, namespace, new, request, "Apply")
        return self._replace(strategy, stored, new, request, subresource, "Apply")
