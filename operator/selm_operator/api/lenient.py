"""Builds models from values that need not keep their bounds.

The API server asks its rules also of an object whose bounds are broken, and of old objects that were admitted under
older bounds; so do we. Types are taken for granted: call it only where none was found wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from selm_operator.api.base import ApiModel
from selm_operator.api.inspection import FieldNode, fields_of

Model = TypeVar("Model", bound=ApiModel)


def build(model: type[Model], data: Mapping[str, Any]) -> Model:
    """The group with defaults filled in, nothing checked, unknown fields left out."""
    construct: Any = model.model_construct
    group: Model = construct(**{node.alias: _value(node, data.get(node.alias)) for node in fields_of(model)})
    return group


def _value(node: FieldNode, raw: Any) -> Any:
    if raw is None:
        return node.default
    if node.is_list:
        return tuple(build(node.model, item) if node.model else item for item in raw)
    if node.model:
        return build(node.model, raw)
    if isinstance(raw, dict) and not node.is_open:
        return {key: value for key, value in raw.items() if value is not None}
    return raw
