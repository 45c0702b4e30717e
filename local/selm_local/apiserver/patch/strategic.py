"""Strategic merge patches of built-in kinds.

Source: k8s.io/apimachinery/pkg/util/strategicpatch/patch.go, and
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import copy
from typing import Any, Final

from selm_local.apiserver.patch.builtin import Gvk, merge_type
from selm_local.apiserver.patch.errors import PatchError, bad_request
from selm_local.apiserver.patch.mergetypes import MergeType, undeclared
from selm_local.apiserver.schema.jsonvalue import Json, json_equal

_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_DELETE_FROM: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"


def strategic_merge_patch(target: Json, patch: Json, gvk: Gvk) -> Json:
    """`target`, an object of a built-in kind, after `patch`. PatchError 400 where the patch misuses a directive."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch must be an object")
    return _merge_objects(merge_type(gvk), target, patch)


def _merge_objects(type_: MergeType, target: Json, patch: dict[str, Json]) -> dict[str, Json]:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return dict(_plain({name: value for name, value in patch.items() if name != _DIRECTIVE}))
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        # Errors that the real server does not interpret come out as 500 without a reason.
        raise PatchError(500, "", f"unknown patch type found: {directive!r}; allowed are replace, delete and merge")
    result: dict[str, Json] = copy.deepcopy(target) if isinstance(target, dict) else {}
    _retain(result, patch)
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            below = type_.child(name) or undeclared()
            merged = _merge_objects(below, result.get(name), value)
            if value.get(_DIRECTIVE) == "delete":
                result.pop(name, None)
            else:
                result[name] = merged
        elif isinstance(value, list):
            result[name] = _merge_lists(type_.child(name) or undeclared(), name, result.get(name), value, patch)
        else:
            result[name] = value
    _list_directives(type_, result, patch)
    return result


def _retain(result: dict[str, Json], patch: dict[str, Json]) -> None:
    """$retainKeys: the only fields that stay, of the object it stands in."""
    keep = patch.get(_RETAIN)
    if keep is None:
        return
    if not isinstance(keep, list):
        raise bad_request(f"{_RETAIN} must be a list of names, found {keep!r}")
    beyond = [
        name for name, value in patch.items() if not name.startswith("$") and value is not None and name not in keep
    ]
    if beyond:
        raise bad_request(f"{_RETAIN} {keep} must hold all fields that the patch sets, but lacks {beyond}")
    for name in [name for name in result if name not in keep]:
        del result[name]


def _list_directives(type_: MergeType, result: dict[str, Json], patch: dict[str, Json]) -> None:
    """Deletions from, and orders of, lists that the patch does not otherwise speak of."""
    for name, value in patch.items():
        if name.startswith(_DELETE_FROM):
            field = name.removeprefix(_DELETE_FROM)
            if isinstance(result.get(field), list) and isinstance(value, list):
                result[field] = [item for item in result[field] if not any(json_equal(item, gone) for gone in value)]
        elif name.startswith(_ORDER):
            field = name.removeprefix(_ORDER)
            if field not in patch and isinstance(result.get(field), list):
                below = type_.child(field) or undeclared()
                result[field] = _ordered(below, result[field], value, result[field])


def _merge_lists(type_: MergeType, name: str, target: Json, patch: list[Json], around: dict[str, Json]) -> list[Json]:
    live = target if isinstance(target, list) else []
    order = around.get(_ORDER + name)
    if type_.patch_merges:
        merged = live + [item for item in patch if not any(json_equal(item, each) for each in live)]
        return _ordered(type_, merged, order, live)
    if not type_.patch_key:
        return list(_plain(patch))
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return list(
            _plain([item for item in patch if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "replace")])
        )
    merged = list(live)
    for item in patch:
        if not isinstance(item, dict) or type_.patch_key not in item:
            text = f"map: {item!r} does not contain declared merge key: {type_.patch_key}"
            raise PatchError(500, "", text)
        place = next((i for i, each in enumerate(merged) if _same_key(type_, each, item)), None)
        if item.get(_DIRECTIVE) == "delete":
            merged = [each for each in merged if not _same_key(type_, each, item)]
        elif place is None:
            merged.append(_merge_objects(type_.item_type(), None, item))
        else:
            merged[place] = _merge_objects(type_.item_type(), merged[place], item)
    return _ordered(type_, merged, order, live)


def _same_key(type_: MergeType, left: Json, right: Json) -> bool:
    key = type_.patch_key
    return isinstance(left, dict) and key in left and json_equal(left[key], right.get(key))


def _plain(value: Any) -> Any:
    """What a patch says anew, without its directives."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if not k.startswith("$") and v is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, dict) and _DIRECTIVE in item)]
    return value


def _ordered(type_: MergeType, merged: list[Json], order: Json, server: list[Json]) -> list[Json]:
    """The merged items in the order that the patch asks for; items it does not name stay after what they followed."""
    if not isinstance(order, list):
        return merged

    def known(item: Json) -> Json:
        return item.get(type_.patch_key) if type_.patch_key and isinstance(item, dict) else item

    def place(items: list[Json], item: Json) -> int | None:
        return next((i for i, each in enumerate(items) if json_equal(known(each), known(item))), None)

    named = [item for item in merged if place(order, item) is not None]
    named.sort(key=lambda item: place(order, item) or 0)
    others = [item for item in merged if place(order, item) is None]
    result: list[Json] = []
    while named and others:
        first, other = place(server, named[0]), place(server, others[0])
        take_other = first is not None and other is not None and other < first
        result.append(others.pop(0) if take_other else named.pop(0))
    return result + named + others
