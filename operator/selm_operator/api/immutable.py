"""What of a spec may never change, as digests: how the operator notices a change that the CRD's rules did not refuse.

They may not have been in force (an older CRD, another version of it), and the CRD cannot guard a stored object that is
restored from a copy. The projection is made of the marks that the fields carry. A field that is absent, or at its
default, is not in it: so a later version may add fields without the runs that exist seeming to have changed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from selm_operator.api.base import ApiModel, Change, ListSet
from selm_operator.api.inspection import FieldNode, fields_of
from selm_operator.api.spec import SELMRunSpec

MUTABLE = (Change.SUSPENDED, Change.ALWAYS, Change.GROWING, Change.SCHEDULED)

_NOTHING: Any = object()


def digest_of(value: Any) -> str:
    """SHA-256 over canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def immutable_digests(spec: SELMRunSpec) -> dict[str, str]:
    """By top-level field of the spec, the digest of what may never change in it; fields with nothing such are left out."""
    found = {node.alias: _fixed(node, getattr(spec, node.name)) for node in fields_of(SELMRunSpec)}
    return {alias: digest_of(value) for alias, value in found.items() if value is not _NOTHING}


def _fixed(node: FieldNode, value: Any) -> Any:
    """The immutable part of a field's value as JSON."""
    if node.change in MUTABLE or _is_default(node, value):
        return _NOTHING
    if node.model is None or node.change is Change.IMMUTABLE:
        return _canonical(node, value)
    if node.is_list:
        return {_key(node, item): _fixed_group(item) for item in value}
    inner = _fixed_group(value)
    return inner if inner or node.may_be_absent else _NOTHING  # of an optional group the presence counts


def _fixed_group(group: ApiModel) -> dict[str, Any]:
    found = {node.alias: _fixed(node, getattr(group, node.name)) for node in fields_of(type(group))}
    return {alias: value for alias, value in found.items() if value is not _NOTHING}


def _canonical(node: FieldNode, value: Any) -> Any:
    """A whole value as JSON; the order of lists that are maps or sets says nothing."""
    if node.is_list and node.key is not None:
        return {_key(node, item): _plain(item) for item in value}
    if node.is_list:
        items = [_plain(item) for item in value]
        return sorted(items, key=str) if isinstance(node.list_kind, ListSet) else items
    return _plain(value)


def _plain(value: Any) -> Any:
    if not isinstance(value, ApiModel):
        return value
    nodes = ((node, getattr(value, node.name)) for node in fields_of(type(value)))
    return {node.alias: _canonical(node, inner) for node, inner in nodes if not _is_default(node, inner)}


def _is_default(node: FieldNode, value: Any) -> bool:
    if value is None:
        return True
    if node.absent_means is not None:
        return bool(value == node.absent_means.value)
    return not node.required and bool(value == node.default)


def _key(node: FieldNode, item: ApiModel) -> str:
    (name,) = (inner.name for inner in fields_of(type(item)) if inner.alias == node.key)
    return str(getattr(item, name))
