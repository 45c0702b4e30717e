"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from __future__ import annotations

import copy
from typing import Any, Final

import jsonpatch
import jsonpointer

from selm_local.apiserver.patch.errors import PatchError, bad_request, invalid
from selm_local.apiserver.schema.jsonvalue import Json, json_equal

MAX_OPERATIONS: Final = 10_000
_OPERATIONS: Final = ("add", "remove", "replace", "move", "copy", "test")


def merge_patch(target: Json, patch: Json) -> Json:
    """`target` with `patch` merged into it: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def json_patch(target: Json, operations: Json) -> Json:
    """`target` after all operations, or none of them.

    PatchError: 400 where the patch is malformed, 413 where it is too long, 422 where a test fails or a path is missing.
    """
    if not isinstance(operations, list):
        raise bad_request(f"a JSON patch must be a list of operations, found {type(operations).__name__}")
    if len(operations) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise PatchError(413, "RequestEntityTooLarge", text)
    result = copy.deepcopy(target)
    for i, operation in enumerate(operations):
        if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS:
            allowed = ", ".join(_OPERATIONS)
            raise bad_request(f"operation {i} of the JSON patch has no `op` of {allowed}: {operation!r}")
        try:
            if operation["op"] == "test":
                _test(result, operation)
            else:
                result = jsonpatch.apply_patch(result, [operation], in_place=True)
        except (jsonpatch.JsonPatchConflict, jsonpatch.JsonPatchTestFailed, jsonpointer.JsonPointerException):
            raise invalid() from None
        except (jsonpatch.InvalidJsonPatch, KeyError) as error:
            raise bad_request(f"operation {i} of the JSON patch is malformed: {error}") from error
    return result


def _test(target: Json, operation: dict[str, Any]) -> None:
    """The library compares as Python does, for which 1 is True; a server must not."""
    if "value" not in operation:
        raise jsonpatch.InvalidJsonPatch("the operation has no `value`")
    found = jsonpointer.resolve_pointer(target, operation["path"])
    if not json_equal(_numbers(found), _numbers(operation["value"])):
        raise jsonpatch.JsonPatchTestFailed(f"{operation['path']} is {found!r}")


def _numbers(value: Json) -> Json:
    """Whole floats as integers, which JSON does not tell apart."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else value
