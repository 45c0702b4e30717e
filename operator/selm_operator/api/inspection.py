"""Reads the declarations off the models: one `FieldNode` for each field, with its marks.

What the CRD, the documentation, the rules of change and the validators have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from selm_operator.api.base import AbsentMeans, ApiModel, Change, Default, ListKind, ListMap


@dataclass(frozen=True)
class FieldNode:
    """A field of a model; `model` is the group that it holds, itself or as the items of a list."""

    owner: type[ApiModel]
    name: str
    alias: str
    info: FieldInfo
    is_list: bool
    model: type[ApiModel] | None

    def _mark(self, kind: type[Any]) -> Any:
        return next((mark for mark in self.info.metadata if isinstance(mark, kind)), None)

    @property
    def change(self) -> Change | None:
        """How the field may change; None: as the group around it may."""
        return self._mark(Change)  # type: ignore[no-any-return]

    @property
    def absent_means(self) -> AbsentMeans | None:
        return self._mark(AbsentMeans)  # type: ignore[no-any-return]

    @property
    def default_words(self) -> str | None:
        mark: Default | None = self._mark(Default)
        return mark.words if mark else None

    @property
    def list_kind(self) -> ListKind | None:
        return self._mark(ListKind)  # type: ignore[no-any-return]

    @property
    def key(self) -> str | None:
        """For a list that is a map: the camelCase name of the field that tells entries apart."""
        return self.list_kind.key if isinstance(self.list_kind, ListMap) else None

    @property
    def is_open(self) -> bool:
        """Whether the field is an object of any shape, whose nulls mean something."""
        return get_args(self.info.annotation) == (str, Any)

    @property
    def required(self) -> bool:
        return self.info.is_required()

    @property
    def default(self) -> Any:
        """The Python default; None where the field is required or may be absent."""
        return None if self.required else self.info.get_default(call_default_factory=True, validated_data={})

    @property
    def may_be_absent(self) -> bool:
        """Whether a stored object may lack the field: it is neither required nor defaulted."""
        return not self.required and self.default is None

    @property
    def description(self) -> str:
        """The sentence about the field alone; see `describe` for the whole."""
        return self.info.description or ""


@cache
def fields_of(model: type[ApiModel]) -> tuple[FieldNode, ...]:
    """The model's fields in declared order."""
    return tuple(_node(model, name, info) for name, info in model.model_fields.items())


def field_of(model: type[ApiModel], alias: str) -> FieldNode:
    """The field with that camelCase name. Raises KeyError where there is none."""
    for node in fields_of(model):
        if node.alias == alias:
            return node
    raise KeyError(f"{model.__name__} has no field {alias}")


def walk(model: type[ApiModel], path: str) -> Iterator[tuple[str, FieldNode]]:
    """Every field beneath `model` with its path, depth first; items of lists are written `[]`."""
    for node in fields_of(model):
        here = f"{path}.{node.alias}" if path else node.alias
        yield here, node
        if node.model:
            yield from walk(node.model, f"{here}[]" if node.is_list else here)


def models_under(model: type[ApiModel]) -> tuple[type[ApiModel], ...]:
    """The model and every group beneath it, once each."""
    found = {model: None} | {node.model: None for _, node in walk(model, "") if node.model}
    return tuple(found)


def describe(node: FieldNode) -> str:
    """The description as users read it: name, meaning, default, and how the field may change."""
    words = [f"{node.alias}: {node.description}"]
    if node.default_words:
        words.append(f"Default: {node.default_words}.")
    elif node.absent_means:
        words.append(f"Absent: {plain(node.absent_means.value)}.")
    elif not node.required and not node.may_be_absent and not isinstance(node.default, ApiModel):
        words.append(f"Default: {plain(node.default)}.")
    if node.change:
        words.append(node.change.value)
    return " ".join(words)


def plain(value: Any) -> str:
    """A default as it would be written in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if value == "":
        return '""'
    return "{}" if value == {} else str(value)


def _node(owner: type[ApiModel], name: str, info: FieldInfo) -> FieldNode:
    inner = _without_none(info.annotation)
    is_list = get_origin(inner) is tuple
    if is_list:
        inner = _without_none(get_args(inner)[0])
    is_model = isinstance(inner, type) and issubclass(inner, ApiModel)
    return FieldNode(owner, name, info.alias or name, info, is_list, inner if is_model else None)


def _without_none(annotation: Any) -> Any:
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            options = [option for option in get_args(annotation) if option is not NoneType]
            if len(options) != 1:
                return annotation
            annotation = options[0]
        elif origin is Literal:
            return str
        else:
            return annotation
