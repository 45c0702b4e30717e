"""Runs a schema's rules over an object.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from cel_expr_python import cel

from selm_local.apiserver.schema import errors
from selm_local.apiserver.schema.cel.compiler import CompiledRule, Compiler, Program
from selm_local.apiserver.schema.cel.convert import Converter, Unreadable
from selm_local.apiserver.schema.cel.decltype import DeclType, declare
from selm_local.apiserver.schema.cel.environments import OLD_SELF
from selm_local.apiserver.schema.cel.escaping import escape
from selm_local.apiserver.schema.correlation import OldItems, old_property
from selm_local.apiserver.schema.errors import NO_FIELD, FieldError, child, index
from selm_local.apiserver.schema.jsonvalue import Json, json_equal
from selm_local.apiserver.schema.node import ABSENT, Node, Rule

MAX_MESSAGE_BYTES: Final = 5 * 1024
"""Longest result of a messageExpression; a longer one is not used."""


@dataclass
class RuleNode:
    """The rules at a node, and the nodes beneath it that have any."""

    node: Node
    rules: list[CompiledRule] = field(default_factory=list)
    min_size: int = 1
    properties: dict[str, RuleNode] = field(default_factory=dict)
    additional: RuleNode | None = None
    items: RuleNode | None = None


class RuleSet:
    """All rules of a schema, compiled."""

    def __init__(self, root: Node) -> None:
        """`root`: that of a custom resource, whose name rules may read."""
        declared = declare(root, resource=True)
        self._compiler = None if declared is None else Compiler(declared)
        self.root = self._build(root, declared)

    def _build(self, node: Node, declared: DeclType | None) -> RuleNode | None:
        if declared is None:
            return None
        assert self._compiler is not None
        built = RuleNode(node, self._compiler.rules(node, declared), declared.min_size)
        for name, schema in node.properties.items():
            identifier = escape(name)
            below = declared.hidden.get(name) if identifier is None else declared.fields.get(identifier)
            under = self._build(schema, below)
            if under is not None:
                built.properties[name] = under
        if node.additional is not None:
            built.additional = self._build(node.additional, declared.elem)
        if node.items is not None:
            built.items = self._build(node.items, declared.elem)
        empty = not (built.rules or built.properties or built.additional or built.items)
        return None if empty else built

    def validate(self, value: Json, old: Any = ABSENT) -> list[FieldError]:
        """Errors of the object `value`; rules with oldSelf run only where there is an `old` one to compare with."""
        return [] if self.root is None else self._validate(self.root, value, old, ratchet=True)

    def validate_default(self, rules: RuleNode, value: Json) -> list[FieldError]:
        """Errors of the default of one of this set's nodes; paths begin at that node. It counts as its own old self."""
        return self._validate(rules, value, value, ratchet=False)

    def _validate(self, rules: RuleNode, value: Json, old: Any, *, ratchet: bool) -> list[FieldError]:
        assert self._compiler is not None
        resource = rules is self.root
        converter, old_converter = Converter(), Converter()
        try:
            converted = converter.convert(rules.node, value, resource=resource)
            before = ABSENT if old is ABSENT else old_converter.convert(rules.node, old, resource=resource)
        except Unreadable as problem:
            return [errors.invalid(NO_FIELD, rules.node.type, str(problem))]
        run = _Run(self._compiler.env, converter.problems + old_converter.problems, ratchet=ratchet)
        unchanged = _never if old is ABSENT else _equality(value, old)
        return list(run.node(rules, value, old, converted, before, "", unchanged))


def _never() -> bool:
    return False


class _Run:
    def __init__(self, env: cel.Env, problems: list[str], *, ratchet: bool) -> None:
        self._env, self._problems, self._ratchet = env, problems, ratchet

    def node(
        self,
        rules: RuleNode,
        value: Json,
        old: Any,
        converted: Any,
        before: Any,
        path: str,
        unchanged: Callable[[], bool],
    ) -> Iterator[FieldError]:
        """Errors at and beneath a node. `converted` and `before` are what CEL sees of `value` and `old`.

        `unchanged` says whether the nearest ancestor that can be compared with its old self equals it: what was
        refused by a rule added later stays admitted while it does not change.
        """
        if value is None:
            return
        if rules.rules:
            yield from self._rules(rules, old, converted, before, path, unchanged)
        if isinstance(value, dict):
            yield from self._object(rules, value, old, converted, before, path, unchanged)
        elif isinstance(value, list) and rules.items is not None:
            yield from self._list(rules, value, old, converted, before, path, unchanged)

    def _object(
        self,
        rules: RuleNode,
        value: dict[str, Json],
        old: Any,
        converted: Any,
        before: Any,
        path: str,
        unchanged: Callable[[], bool],
    ) -> Iterator[FieldError]:
        for name, item in value.items():
            below = rules.properties.get(name)
            where, key = child(path, name), escape(name) or name
            if below is None:
                if rules.additional is None or name in rules.node.properties:
                    continue
                below, where, key = rules.additional, f"{path}[{name}]", name
            if item is None:
                continue
            if not isinstance(converted, dict) or key not in converted:
                yield from (self._unreadable(each, below, where) for each in below.rules)
                continue
            old_item = old_property(rules.node, old, name)
            old_item = ABSENT if old_item is None else old_item
            seen = before.get(key, ABSENT) if old_item is not ABSENT and isinstance(before, dict) else ABSENT
            same = unchanged if old_item is ABSENT else _equality(item, old_item)
            yield from self.node(below, item, old_item, converted[key], seen, where, same)

    def _list(
        self,
        rules: RuleNode,
        value: list[Json],
        old: Any,
        converted: Any,
        before: Any,
        path: str,
        unchanged: Callable[[], bool],
    ) -> Iterator[FieldError]:
        assert rules.items is not None
        olds = OldItems(rules.node, old)
        places = {id(item): i for i, item in enumerate(old)} if isinstance(old, list) else {}
        for i, item in enumerate(value):
            old_item = olds.find(item)
            seen = ABSENT
            if old_item is not ABSENT and isinstance(before, list):
                seen = before[places[id(old_item)]]
            same = unchanged if old_item is ABSENT else _equality(item, old_item)
            yield from self.node(rules.items, item, old_item, converted[i], seen, index(path, i), same)

    def _rules(
        self, rules: RuleNode, old: Any, converted: Any, before: Any, path: str, unchanged: Callable[[], bool]
    ) -> Iterator[FieldError]:
        has_old = old is not ABSENT and before is not ABSENT
        data = {"self": converted}
        if has_old:
            data |= {"oldSelf": before, OLD_SELF: before}
        activation = self._env.Activation(data)
        for compiled in rules.rules:
            rule, program = compiled.rule, compiled.program
            where = path or NO_FIELD
            if program is None:
                if compiled.problem:
                    yield errors.invalid(where, rules.node.type, f"rule compile error: {compiled.problem}")
                continue
            if program.uses_old_self and not has_old and not rule.optional_old_self:
                continue
            outcome = _run(program, activation, has_old)
            if outcome is True:
                continue
            if isinstance(outcome, str):
                yield self._failed(compiled, rules, where, outcome)
                continue
            if self._ratchet and not program.uses_old_self and unchanged():
                continue
            if compiled.field_path:
                where = child(path, compiled.field_path)
            yield _refusal(where, rule, self._message(compiled, activation, has_old))

    def _message(self, compiled: CompiledRule, activation: cel.Activation, has_old: bool) -> str:
        if compiled.message is not None:
            program = compiled.message
            expression = program.without_old if program.without_old is not None and not has_old else program.run
            text = expression.eval(activation).value()
            if isinstance(text, str):
                text = text.strip()
                if text and len(text.encode()) <= MAX_MESSAGE_BYTES and "\n" not in text:
                    return text
        rule = compiled.rule
        return rule.message.strip() if rule.message else f"failed rule: {rule.title}"

    def _unreadable(self, compiled: CompiledRule, rules: RuleNode, where: str) -> FieldError:
        problem = self._problems[0] if self._problems else "invalid data"
        return errors.invalid(where, rules.node.type, f"{problem} evaluating rule: {compiled.rule.title}")

    def _failed(self, compiled: CompiledRule, rules: RuleNode, where: str, outcome: str) -> FieldError:
        title, found = compiled.rule.title, _cel_go(outcome)
        if found.startswith("no such overload"):
            text = f"'{found}': call arguments did not match a supported operator, function or macro signature for rule: {title}"
        else:
            if found.startswith("no such key") and self._problems:
                found = self._problems[0]
            text = f"{found} evaluating rule: {title}"
        return errors.invalid(where, rules.node.type, text)


def _equality(value: Json, old: Json) -> Callable[[], bool]:
    return lambda: json_equal(value, old)


def _run(program: Program, activation: cel.Activation, has_old: bool) -> bool | str:
    """True, False, or why the rule could not be evaluated."""
    expression = program.without_old if program.without_old is not None and not has_old else program.run
    outcome = expression.eval(activation)
    value = outcome.value()
    if isinstance(value, bool):
        return value
    return str(value)


def _cel_go(text: str) -> str:
    """The library's error in the words of cel-go."""
    text = re.sub(r"^[A-Z_]+: ", "", text.strip("'"))
    missing = re.match(r'Key not found in map : "?(.*?)"?$', text)
    if missing:
        return f"no such key: {missing[1]}"
    bounds = re.match(r"Index error: index=(-?\d+) size=\d+", text)
    if bounds:
        return f"index out of bounds: {bounds[1]}"
    if text.startswith("No matching overloads found"):
        return "no such overload"
    return "division by zero" if text == "divide by zero" else text


def _refusal(where: str, rule: Rule, detail: str) -> FieldError:
    if rule.reason == "FieldValueForbidden":
        return errors.forbidden(where, detail)
    if rule.reason == "FieldValueRequired":
        return errors.required(where, detail)
    if rule.reason == "FieldValueDuplicate":
        return FieldError(where, "FieldValueDuplicate", "Duplicate value")
    return FieldError(where, "FieldValueInvalid", f"Invalid value: {detail}")
