"""Deletion: grace, finalizers, propagation, preconditions. Synchronous, like every write.

The server only marks (deletionTimestamp, the finalizers `foregroundDeletion` and `orphan`); dependents are the
garbage collector's business, pods' processes the node's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from selm_local.apiserver import errors, meta
from selm_local.apiserver.kinds.base import Strategy
from selm_local.apiserver.requests import DeleteRequest, Written
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.schema.errors import FieldError, not_supported
from selm_local.apiserver.storage import Object, Storage, Stored

PROPAGATIONS = ("Foreground", "Background", "Orphan")


class Deletes:
    def __init__(self, storage: Storage, strategy: Callable[[Resource], Strategy], clock: Callable[[], dt.datetime]):
        self._storage = storage
        self._strategy = strategy
        self._clock = clock

    def delete(self, resource: Resource, namespace: str | None, name: str, request: DeleteRequest) -> Written:
        """The object, if it lives on for a while (or its kind answers with it), else a Status of success."""
        strategy = self._strategy(resource)
        stored = self._storage.get(resource.storage, namespace or "", name)
        if stored is None:
            raise errors.not_found(resource.group, resource.plural, name)
        _check_options(request)
        self._check_preconditions(resource, stored, request)
        request.warnings += strategy.deletion_warnings(request.propagation)
        now = self._clock()
        obj = self._marked(strategy, stored.copy(), request, now)
        if strategy.may_go(obj):
            if not request.dry_run:
                self._storage.delete(stored.storage, stored.namespace, name, stored.copy())
            if strategy.returns_deleted:
                return Written(strategy.from_storage(obj))
            return Written(_success(resource, stored))
        if obj == stored.object:
            return Written(strategy.from_storage(stored.copy()))
        if request.dry_run:
            return Written(strategy.from_storage(obj))
        new = self._storage.put(stored.storage, stored.namespace, name, obj)
        return Written(strategy.from_storage(new.copy()), raw=None if strategy.converts else new.raw)

    def _marked(self, strategy: Strategy, obj: Object, request: DeleteRequest, now: dt.datetime) -> Object:
        """The object with its deletion marked: pure but for `obj`, which it changes."""
        found = obj["metadata"]
        finalizers = [f for f in found.get("finalizers") or [] if f not in (meta.FOREGROUND, meta.ORPHAN)]
        kept = [f for f in found.get("finalizers") or [] if f in (meta.FOREGROUND, meta.ORPHAN)]
        propagation = request.propagation
        if propagation is None and not kept:
            propagation = strategy.default_propagation
        if propagation == "Foreground":
            kept = [meta.FOREGROUND]
        elif propagation == "Orphan":
            kept = [meta.ORPHAN]
        elif propagation == "Background":
            kept = []
        finalizers += kept
        if finalizers:
            found["finalizers"] = finalizers
        else:
            found.pop("finalizers", None)
        grace = strategy.grace_seconds(obj, request.grace_seconds)
        if found.get("deletionTimestamp"):
            before = int(found.get("deletionGracePeriodSeconds") or 0)
            if grace >= before:
                return obj
            since = dt.datetime.fromisoformat(found["deletionTimestamp"]) - dt.timedelta(seconds=before)
            found["deletionTimestamp"] = meta.now_text(since + dt.timedelta(seconds=grace))
        else:
            found["deletionTimestamp"] = meta.now_text(now + dt.timedelta(seconds=grace))
            if found.get("generation"):
                found["generation"] += 1
        found["deletionGracePeriodSeconds"] = grace
        strategy.mark_deleted(obj)
        return obj

    def _check_preconditions(self, resource: Resource, stored: Stored, request: DeleteRequest) -> None:
        uid, version = stored.object["metadata"]["uid"], str(stored.version)
        if request.uid and request.uid != uid:
            why = (
                f"the UID in the precondition ({request.uid}) does not match the UID in record ({uid}). "
                "The object might have been deleted and then recreated"
            )
            raise errors.conflict(resource.group, resource.kind, stored.name, why)
        if request.resource_version and request.resource_version != version:
            why = (
                f"the ResourceVersion in the precondition ({request.resource_version}) does not match the "
                f"ResourceVersion in record ({version}). The object might have been modified"
            )
            raise errors.conflict(resource.group, resource.kind, stored.name, why)


def _check_options(request: DeleteRequest) -> None:
    problems: list[FieldError] = []
    if request.propagation is not None and request.propagation not in PROPAGATIONS:
        problems.append(not_supported("propagationPolicy", request.propagation, PROPAGATIONS))
    if request.grace_seconds is not None and request.grace_seconds < 0:
        request.grace_seconds = 1
    if problems:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", problems)


def _success(resource: Resource, stored: Stored) -> Object:
    details = {"name": stored.name, "kind": resource.plural, "uid": stored.object["metadata"]["uid"]}
    if resource.group:
        details["group"] = resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
