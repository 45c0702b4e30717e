"""Patches as kube-apiserver applies them. Pure: no I/O, no clock (times come in as RFC 3339 strings).

    merge_patch(target, patch) -> Json                        # RFC 7386
    json_patch(target, operations) -> Json                    # RFC 6902; PatchError
    strategic_merge_patch(target, patch, gvk) -> dict         # built-in kinds only; gvk = (group, version, kind)

    merge_type(gvk) -> MergeType                              # built-in kinds: how their lists merge
    merge_type_of(schema: CustomSchema) -> MergeType          # custom kinds; keep it beside the compiled schema

    apply(live, applied, request, merge_type, force=False) -> object with metadata.managedFields
        Server-side apply; `live` None creates. Raises ApplyConflict (409) and PatchError. The caller then fills in
        defaults, validates and stores; do not call `settle` after it (defaults are owned by nobody). Where nothing
        changed the result equals `live` without touching times, so that it need not be written.
    settle(live, new, request, merge_type) -> new with metadata.managedFields
        For creates (`live` None), updates and the other patches, on the object as it will be stored: defaults filled
        in, status or spec already put back.

    FieldRequest(manager, operation, api_version, time, subresource="", reset=frozenset())
        `reset_fields(subresource, status_subresource)` says what to give as `reset`.

PatchError(code, reason, message, causes) carries what the Status needs: 422 Invalid for a failed JSON-patch test or a
missing path, 400 BadRequest for what cannot be parsed. All functions leave their arguments as they were.
"""

from selm_local.apiserver.patch.apply import apply, settle
from selm_local.apiserver.patch.builtin import Gvk, merge_type
from selm_local.apiserver.patch.errors import ApplyConflict, PatchError
from selm_local.apiserver.patch.jsonpatches import json_patch, merge_patch
from selm_local.apiserver.patch.managers import FieldRequest, reset_fields
from selm_local.apiserver.patch.mergetypes import MergeType, merge_type_of
from selm_local.apiserver.patch.strategic import strategic_merge_patch

__all__ = [
    "ApplyConflict",
    "FieldRequest",
    "Gvk",
    "MergeType",
    "PatchError",
    "apply",
    "json_patch",
    "merge_patch",
    "merge_type",
    "merge_type_of",
    "reset_fields",
    "settle",
    "strategic_merge_patch",
]
