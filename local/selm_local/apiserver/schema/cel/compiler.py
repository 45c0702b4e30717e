"""Compiles the rules of one schema node: types, cost, and a program to run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from cel_expr_python import cel

from selm_local.apiserver.schema import fieldpath, regex
from selm_local.apiserver.schema.cel import ast, environments, library
from selm_local.apiserver.schema.cel.ast import Expr, kind
from selm_local.apiserver.schema.cel.cost import Coster
from selm_local.apiserver.schema.cel.decltype import DeclType
from selm_local.apiserver.schema.cel.environments import OLD_SELF
from selm_local.apiserver.schema.cel.equality import ADD, EQUAL, Registry, differs
from selm_local.apiserver.schema.cel.messages import Messages
from selm_local.apiserver.schema.node import Node, Rule

_OPTIONAL: Final = "cel.bind(oldSelf, {value}, (\n{source}\n))"
_LITERALS: Final = {"duration", "timestamp"}


class CompileError(Exception):
    """Why an expression is refused; the text is Kubernetes' (`compilation failed: ERROR: <input>:1:5: ...`)."""


@dataclass(frozen=True)
class Program:
    """A compiled expression. `cost`: estimated, in CEL cost units. `without_old`: for an absent optional oldSelf."""

    run: cel.Expression
    cost: int
    uses_old_self: bool
    without_old: cel.Expression | None = None


@dataclass(frozen=True)
class CompiledRule:
    """`problem` and `message_problem` say why the rule, or its messageExpression, was refused."""

    rule: Rule
    program: Program | None = None
    message: Program | None = None
    field_path: str = ""
    problem: str = ""
    message_problem: str = ""


class Compiler:
    """Compiles all rules of a schema; one a CRD version. `env` evaluates what it compiles."""

    def __init__(self, root: DeclType) -> None:
        self._messages = Messages(root, library.OPAQUE)
        self._registry = Registry()
        self._checking: dict[tuple[str, bool], cel.Env] = {}
        self.env = environments.evaluating(self._registry.functions())

    def rules(self, node: Node, declared: DeclType) -> list[CompiledRule]:
        """The rules of `node`, in order; a refused one has its problem."""
        return [self._rule(rule, node, declared) for rule in node.rules]

    def _rule(self, rule: Rule, node: Node, declared: DeclType) -> CompiledRule:
        program = message = None
        path = problem = message_problem = ""
        if rule.rule.strip():
            try:
                program = self._program(rule.rule, rule, declared, cel.Type.BOOL)
            except CompileError as error:
                problem = str(error)
        if rule.message_expression.strip():
            try:
                message = self._program(rule.message_expression, rule, declared, cel.Type.STRING)
            except CompileError as error:
                message_problem = f"messageExpression {error}"
        if rule.field_path:
            try:
                path = fieldpath.resolve(rule.field_path.strip(), node)[0]
            except ValueError:
                path = ""  # refused at admission by its own check
        return CompiledRule(rule, program, message, path, problem, message_problem)

    def _env(self, declared: DeclType, *, bindings: bool) -> cel.Env:
        type_ = self._messages.type_of(declared)
        key = (type_.name() if declared.kind != "list" else f"list {type_}", bindings)
        if declared.kind in ("list", "map"):
            key = (f"{declared.kind} {id(declared)}", bindings)
        if key not in self._checking:
            self._checking[key] = environments.checking(self._messages.pool, type_, bindings=bindings)
        return self._checking[key]

    def _program(self, source: str, rule: Rule, declared: DeclType, wanted: cel.Type) -> Program:
        optional = bool(rule.optional_old_self)
        text = _OPTIONAL.format(value=f"optional.of({OLD_SELF})", source=source) if optional else source
        env = self._env(declared, bindings=optional)
        try:
            checked_program = env.compile(text)
        except RuntimeError as error:
            raise CompileError("compilation failed: " + _readable(str(error), shifted=optional)) from None
        if checked_program.return_type() != wanted:
            name = "bool" if wanted == cel.Type.BOOL else "string"
            raise CompileError(f"cel expression must evaluate to a {name}")
        checked = ast.checked(checked_program.serialize())
        _check_literals(checked.expr, checked.type_map)
        coster = Coster(checked, declared)
        cost = coster.cost(checked.expr).high
        uses_old = any(reference.name in ("oldSelf", OLD_SELF) for reference in checked.reference_map.values())
        if optional:
            uses_old = ast.mentions(ast.parsed(env.compile(source, disable_check=True).serialize()).expr, "oldSelf")
        without_old = None
        if optional:
            without_old = self._runnable(_OPTIONAL.format(value="optional.none()", source=source), None)
        return Program(self._runnable(text, coster), cost, uses_old, without_old)

    def _runnable(self, source: str, coster: Coster | None) -> cel.Expression:
        """The untyped program, its operators on sets, maps and open objects replaced by Kubernetes'."""
        program = self.env.compile(source, disable_check=True)
        if coster is None:
            return program
        parsed = ast.parsed(program.serialize())
        if not self._rewrite(parsed.expr, coster):
            return program
        return self.env.deserialize(ast.pack(parsed))

    def _rewrite(self, expr: Expr, coster: Coster) -> bool:
        changed = False
        for child in ast.children(expr):
            changed = self._rewrite(child, coster) or changed
        if kind(expr) != "call_expr" or expr.call_expr.function not in ("_==_", "_!=_", "_+_"):
            return changed
        call = expr.call_expr
        path = coster.path(call.args[0])
        declared = coster.declared(path) if path and path[0] in ("self", "oldSelf", OLD_SELF) else None
        if declared is None or not differs(declared.node):
            return changed
        if call.function == "_+_":
            if declared.kind != "list":
                return changed
            call.function = ADD
        elif call.function == "_==_":
            call.function = EQUAL
        else:
            inner = ast.new_expr()
            inner.CopyFrom(expr)
            inner.call_expr.function = EQUAL
            inner.call_expr.args.add().const_expr.string_value = self._registry.name(declared.node)
            call.Clear()
            call.function = "!_"
            call.args.add().CopyFrom(inner)
            return True
        call.args.add().const_expr.string_value = self._registry.name(declared.node)
        return True


def _readable(text: str, *, shifted: bool) -> str:
    """The library's message in cel-go's words."""
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    text = re.sub(r" not found in struct '[^']*'", "", text)
    for name in re.findall(r"undeclared reference to '([^']*)'", text):
        if name in library.UNSUPPORTED:
            text += f" (this server does not have Kubernetes' CEL library {library.UNSUPPORTED[name]})"
            break
    if shifted:
        text = re.sub(r"<input>:(\d+):", lambda match: f"<input>:{int(match[1]) - 1}:", text)
    return text


def _check_literals(expr: Expr, types: Any) -> None:
    """What Kubernetes' compiler checks beside types: literal patterns, durations and times, lists of one type."""
    for child in ast.children(expr):
        _check_literals(child, types)
    which = kind(expr)
    if which == "call_expr":
        call = expr.call_expr
        last = call.args[-1].const_expr if call.args and kind(call.args[-1]) == "const_expr" else None
        text = last.string_value if last is not None and last.WhichOneof("kind") == "string_value" else None
        if call.function == "matches" and text is not None:
            wrong = regex.problem(text)
            if wrong is not None:
                raise CompileError(f"compilation failed: ERROR: invalid matches argument: {wrong}")
        elif call.function in _LITERALS and text is not None and not call.HasField("target"):
            outcome = _PLAIN.compile(f"{call.function}(text)").eval(data={"text": text})
            if outcome.type() == cel.Type.ERROR:
                raise CompileError(f"compilation failed: ERROR: invalid {call.function} argument: {text!r}")
    elif which == "list_expr":
        _one_type([element.id for element in expr.list_expr.elements], types)
    elif which == "struct_expr" and not expr.struct_expr.message_name:
        entries = expr.struct_expr.entries
        _one_type([entry.map_key.id for entry in entries], types)
        _one_type([entry.value.id for entry in entries], types)


_PLAIN: Final = cel.NewEnv(variables={"text": cel.Type.STRING})


def _one_type(ids: list[int], types: Any) -> None:
    found = [types[i] for i in ids if i in types]
    known = [t for t in found if t.WhichOneof("kind") not in ("dyn", None)]
    if any(t != known[0] for t in known[1:]):
        raise CompileError("compilation failed: ERROR: a list or map literal must have items of one type")
