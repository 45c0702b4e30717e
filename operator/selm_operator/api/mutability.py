"""Rules of change, made from the marks that fields carry (`Change`).

An immutable field that is always there carries `self == oldSelf` itself. One that may be absent is held by the group
around it, since the API server does not ask a rule of a field that has just been added or removed. What may change
while suspended needs `spec.suspend` as it was, so its rules stand on the spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from selm_operator.api.base import ApiModel, Change
from selm_operator.api.equality import same
from selm_operator.api.inspection import FieldNode, fields_of, walk
from selm_operator.api.rule import ChangeRule
from selm_operator.api.spec import SELMRunSpec

Unchanged = Callable[[Any, Any], bool]


def change_rules() -> Iterator[ChangeRule[Any]]:
    """The rules of every marked field but those that `rules.py` writes by hand (GROWING and SCHEDULED)."""
    for path, node in walk(SELMRunSpec, ""):
        match node.change:
            case Change.IMMUTABLE:
                yield _immutable(path, node)
            case Change.KEYED:
                yield _keyed(path, node)
            case Change.SUSPENDED:
                yield _while_suspended(path)


def _immutable(path: str, node: FieldNode) -> ChangeRule[Any]:
    message = f"`{path}` is immutable"

    def holds(new: Any, old: Any) -> bool:
        return same(node, getattr(new, node.name), getattr(old, node.name))

    if not node.may_be_absent:
        return ChangeRule(
            on=node.owner,
            field=node.alias,
            cel="self == oldSelf",
            message=message,
            reason="FieldValueForbidden",
            holds=holds,
        )
    absent = node.absent_means
    if absent is not None:

        def holds_by_meaning(new: Any, old: Any) -> bool:
            values = (getattr(group, node.name) for group in (new, old))
            after, before = (absent.value if value is None else value for value in values)
            return bool(after == before)

        return ChangeRule(
            on=node.owner,
            cel=f"{_or_absent('self', node)} == {_or_absent('oldSelf', node)}",
            message=message,
            at=f".{node.alias}",
            reason="FieldValueForbidden",
            holds=holds_by_meaning,
        )
    return ChangeRule(
        on=node.owner,
        cel=_unchanged_cel(node, "self", "oldSelf"),
        message=f"{message}, also by adding or removing it",
        at=f".{node.alias}",
        reason="FieldValueForbidden",
        holds=holds,
    )


def _or_absent(group: str, node: FieldNode) -> str:
    assert node.absent_means is not None
    return f"(has({group}.{node.alias}) ? {group}.{node.alias} : {node.absent_means.value!r})"


def _keyed(path: str, node: FieldNode) -> ChangeRule[Any]:
    """The entries of a list, or the presence of a group, whose fields have rules of their own."""
    if node.is_list:
        key_node = next(inner for inner in fields_of(_model(node)) if inner.alias == node.key)

        def same_keys(new: Any, old: Any) -> bool:
            before, after = (
                [getattr(item, key_node.name) for item in getattr(group, node.name)] for group in (old, new)
            )
            return len(after) == len(before) and set(after) <= set(before)

        return ChangeRule(
            on=node.owner,
            field=node.alias,
            cel=f"self.size() == oldSelf.size() && self.all(s, oldSelf.exists(o, o.{node.key} == s.{node.key}))",
            message=f"`{path}` is immutable, also by adding or removing one",
            reason="FieldValueForbidden",
            holds=same_keys,
        )

    def same_presence(new: Any, old: Any) -> bool:
        return (getattr(new, node.name) is None) == (getattr(old, node.name) is None)

    return ChangeRule(
        on=node.owner,
        cel=f"has(self.{node.alias}) == has(oldSelf.{node.alias})",
        message=f"`{path}` can not be added or removed",
        at=f".{node.alias}",
        reason="FieldValueForbidden",
        holds=same_presence,
    )


def _while_suspended(path: str) -> ChangeRule[SELMRunSpec]:
    steps = _steps(path)
    cel, unchanged = _unchanged(steps, "self", "oldSelf")
    before_list = path.split("[]", maxsplit=1)[0]
    return ChangeRule(
        on=SELMRunSpec,
        cel=f"oldSelf.suspend || {cel}",
        message=f"`{path}` may change only while `suspend` was true",
        at=f".{before_list}",
        reason="FieldValueForbidden",
        holds=lambda new, old: old.suspend or unchanged(new, old),
    )


def _steps(path: str) -> list[FieldNode]:
    """The fields along a path from the spec."""
    model: type[ApiModel] = SELMRunSpec
    steps = []
    for alias in path.replace("[]", "").split("."):
        node = next(inner for inner in fields_of(model) if inner.alias == alias)
        steps.append(node)
        model = node.model or model
    return steps


def _unchanged(steps: list[FieldNode], new: str, old: str) -> tuple[str, Unchanged]:
    """CEL text and function that say: the field at the end of `steps` is the same beneath `new` as beneath `old`.

    A group on the way that is missing on one side says nothing of the field; its own rule forbids that.
    """
    node, *rest = steps
    if not rest:
        return _unchanged_cel(node, new, old), lambda a, b: same(node, getattr(a, node.name), getattr(b, node.name))
    if node.is_list:
        inner_cel, inner = _unchanged(rest, "s", "o")
        key_node = next(field for field in fields_of(_model(node)) if field.alias == node.key)

        def in_lists(a: Any, b: Any) -> bool:
            before = {getattr(item, key_node.name): item for item in getattr(b, node.name)}
            items = ((item, before.get(getattr(item, key_node.name))) for item in getattr(a, node.name))
            return all(was is None or inner(item, was) for item, was in items)

        cel = f"{new}.{node.alias}.all(s, {old}.{node.alias}.all(o, o.{node.key} != s.{node.key} || {inner_cel}))"
        return cel, in_lists
    inner_cel, inner = _unchanged(rest, f"{new}.{node.alias}", f"{old}.{node.alias}")

    def in_groups(a: Any, b: Any) -> bool:
        after, before = getattr(a, node.name), getattr(b, node.name)
        return after is None or before is None or inner(after, before)

    if node.may_be_absent:
        inner_cel = f"!has({new}.{node.alias}) || !has({old}.{node.alias}) || {inner_cel}"
    return inner_cel, in_groups


def _unchanged_cel(node: FieldNode, new: str, old: str) -> str:
    after, before = f"{new}.{node.alias}", f"{old}.{node.alias}"
    if not node.may_be_absent:
        return f"{after} == {before}"
    return f"(has({after}) == has({before}) && (!has({after}) || {after} == {before}))"


def _model(node: FieldNode) -> type[ApiModel]:
    assert node.model is not None, f"{node.owner.__name__}.{node.name} holds no groups"
    return node.model
