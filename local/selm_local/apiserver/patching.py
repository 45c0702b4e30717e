"""From an object and a patch to the new object, and how a patch that cannot be applied is refused."""

from __future__ import annotations

from typing import Any

from selm_local.apiserver import errors, patch
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.requests import PatchType
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.schema.errors import FieldError, quoted
from selm_local.apiserver.storage import Object, encode


def patched(live: Object, change: Any, patch_type: PatchType, resource: Resource) -> Object:
    try:
        if patch_type == "merge":
            result = patch.merge_patch(live, change)
        elif patch_type == "json":
            result = patch.json_patch(live, change)
        else:
            result = patch.strategic_merge_patch(live, change, (resource.group, resource.version, resource.kind))
    except patch.PatchError as e:
        raise from_patch_error(e) from None
    if not isinstance(result, dict):
        raise errors.bad_request(f"the patch makes the object a {type(result).__name__}; it must stay an object")
    return result


def from_patch_error(e: patch.PatchError) -> ApiError:
    details = {"causes": list(e.causes)} if e.causes else {}
    return ApiError(e.code, e.reason, e.message, details if e.code == 422 or details else None)


def patch_refused(new: Object, why: str) -> ApiError:
    """A patched object that cannot be read is a bad `patch`, not a bad field (as the real server says it)."""
    problem = FieldError("patch", "FieldValueInvalid", f"Invalid value: {quoted(encode(new).decode())}: {why}")
    refused = errors.invalid("", "", "", [problem])
    refused.details = {"causes": (refused.details or {})["causes"]}
    return refused
