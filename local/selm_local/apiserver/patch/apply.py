"""Server-side apply, and how updates change who owns what.

Source: sigs.k8s.io/structured-merge-diff/merge/update.go and k8s.io/apimachinery/pkg/util/managedfields/internal.
"""

from __future__ import annotations

from typing import Final

from selm_local.apiserver.patch.errors import ApplyConflict, PatchError, bad_request
from selm_local.apiserver.patch.fieldset import FieldSet, path_text
from selm_local.apiserver.patch.managers import (
    BEFORE_FIRST_APPLY,
    FieldRequest,
    Key,
    Managers,
    Owned,
    capped,
    decode,
    describe,
    encode,
)
from selm_local.apiserver.patch.mergetypes import MergeType
from selm_local.apiserver.patch.typedwalk import Comparison, Untypable, check, compare, field_set, merge, remove
from selm_local.apiserver.schema.jsonvalue import Json, json_equal

_OWN: Final = frozenset(
    ["apiVersion", "kind"]
    + [f"metadata.{name}" for name in ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName")]
    + [f"metadata.{name}" for name in ("generation", "managedFields", "resourceVersion", "deletionTimestamp")]
    + ["metadata.deletionGracePeriodSeconds"]
)
"""What belongs to the server or says which object it is: owned by nobody."""


def apply(live: Json | None, applied: Json, request: FieldRequest, type_: MergeType, *, force: bool = False) -> Json:
    """The object after a server-side apply, with its managedFields; `live` None: it is created.

    What this manager applied before and does not now is removed, unless another owns it too. Where nothing changes the
    result equals `live`. Defaults are the caller's to fill in afterwards; they are owned by nobody.
    ApplyConflict where a field would change that another owns and `force` is off.
    """
    if not isinstance(applied, dict):
        raise bad_request("an apply patch must be an object")
    if "managedFields" in (applied.get("metadata") or {}):
        raise bad_request("metadata.managedFields must be nil")
    try:
        check(type_, applied)
    except Untypable as error:
        meta = applied.get("metadata") or {}
        group_version, kind = applied.get("apiVersion"), applied.get("kind")
        which = f"{meta.get('namespace', '')}/{meta.get('name', '')}; {group_version}, Kind={kind}"
        raise PatchError(500, "", f"failed to create typed patch object ({which}): {error}") from None
    base: Json = {} if live is None else live
    managers = decode(base.get("metadata"))
    if live is not None and not managers:
        managers = _before_first_apply(live, request, type_)
    own = _strip(field_set(type_, applied)).without(request.reset)
    last = managers.get(request.key())
    merged = merge(type_, _bare(base), applied)
    updated = dict(managers)
    updated[request.key()] = Owned(own, last.time if last else "")
    if last is not None:
        merged = _prune(merged, updated, last.fields, type_)
    updated = _update(_bare(base), merged, updated, request, type_, force=force)
    changed = live is None or not json_equal(_bare(live), merged)
    if own and (changed or last is None):
        updated[request.key()] = Owned(own, request.time)
    return _with_managers(merged, capped(updated))


def settle(live: Json | None, new: Json, request: FieldRequest, type_: MergeType, *, created: bool = False) -> Json:
    """`new`, about to be stored by a create, update or other patch, with its managedFields brought up to date.

    Changed fields become the request's, removed ones nobody's; unchanged ones stay whose they were, so that an update
    of nothing keeps the entries of `live` as they are. An explicit empty `metadata.managedFields` forgets all owners.
    created: there was no object; `live` is what an empty one of its kind looks like.
    """
    given = (new.get("metadata") or {}).get("managedFields") if isinstance(new, dict) else None
    base: Json = {} if live is None else live
    if request.subresource == "" and given is not None and given in ([], [{}]):
        managers: Managers = {}
    else:
        managers = (decode(new.get("metadata")) if request.subresource == "" else {}) or decode(base.get("metadata"))
        if live is not None and not managers and not created:
            return _with_managers(_bare(new), {})  # nothing was tracked: an update does not begin to
    difference = compare(type_, _bare(base), _bare(new)).without(request.reset)
    updated = _take(managers, difference)
    took = _strip((difference.modified | difference.added) - difference.removed)
    if took:
        before = updated.get(request.key())
        updated[request.key()] = Owned(took | before.fields if before else took, request.time)
    return _with_managers(_bare(new), capped(updated))


def _bare(obj: Json) -> Json:
    """The object without its managedFields."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def _with_managers(obj: Json, managers: Managers) -> Json:
    """The object with these entries; all but its metadata is shared with `obj`."""
    entries = encode(managers)
    if not entries:
        return dict(obj)
    return {**obj, "metadata": {**(obj.get("metadata") or {}), "managedFields": entries}}


def _strip(fields: FieldSet) -> FieldSet:
    drop = FieldSet()
    for name in _OWN:
        drop.insert(tuple(f"f:{part}" for part in name.split(".")))
    left = fields - drop
    left.members.discard("f:metadata")
    for name in ("f:apiVersion", "f:kind"):
        left.children.pop(name, None)
    return left


def _before_first_apply(live: Json, request: FieldRequest, type_: MergeType) -> Managers:
    """What was there before anything was tracked belongs to a manager of its own, so that applying over it conflicts."""
    fields = _strip(compare(type_, {}, _bare(live)).added).without(request.reset)
    key: Key = (BEFORE_FIRST_APPLY, "Update", request.api_version, "")
    return {key: Owned(fields, request.time)} if fields else {}


def _take(managers: Managers, difference: Comparison) -> Managers:
    """All managers without the fields that changed or went; empty ones are gone."""
    gone = difference.modified | difference.added | difference.removed
    left = {key: Owned(owned.fields - gone, owned.time) for key, owned in managers.items()}
    return {key: owned for key, owned in left.items() if owned.fields}


def _update(
    live: Json, new: Json, managers: Managers, request: FieldRequest, type_: MergeType, *, force: bool
) -> Managers:
    difference = compare(type_, live, new).without(request.reset)
    changed = difference.modified | difference.added
    conflicts: list[tuple[str, str]] = []
    result: dict[Key, Owned] = {}
    for key, owned in managers.items():
        if key == request.key():
            result[key] = owned
            continue
        taken = owned.fields & changed
        conflicts += [(path_text(path), describe(key, owned.time)) for path in taken]
        result[key] = Owned(owned.fields - taken - difference.removed, owned.time)
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    return {key: owned for key, owned in result.items() if owned.fields}


def _prune(merged: Json, managers: Managers, last: FieldSet, type_: MergeType) -> Json:
    """`merged` without what the manager applied last time, and nobody (it included) claims now."""
    everything = field_set(type_, merged).with_parents(type_)
    before = last.with_parents(type_)
    managed = FieldSet()
    for owned in managers.values():
        managed = managed | owned.fields
    left = field_set(type_, remove(type_, merged, before)).with_parents(type_)
    pruned = remove(type_, merged, everything - (left | managed.with_parents(type_)))
    remaining = field_set(type_, pruned).with_parents(type_)
    return remove(type_, merged, (everything - remaining) & before)
