"""The worst cost of a rule, as Kubernetes estimates it before it admits a CRD.

Source: github.com/google/cel-go/checker/cost.go (the walk and the standard functions) with Kubernetes' size estimates
from schema bounds (apiextensions schema/cel/compilation.go). Costs of Kubernetes' own functions are in `callcost`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from selm_local.apiserver.schema.cel import ast, callcost
from selm_local.apiserver.schema.cel.ast import Expr, kind
from selm_local.apiserver.schema.cel.decltype import DeclType
from selm_local.apiserver.schema.cel.estimate import EMPTY_UNION, ONE, UNKNOWN, ZERO, Range, fixed

STRING_FACTOR: Final = 0.1
REGEX_FACTOR: Final = 0.25
_CREATE: Final = {"list_expr": 10, "map": 30, "struct": 40}
_STRING_COMPARE: Final = frozenset(
    f"{name}_{kind_}" for name in ("less", "less_equals", "greater", "greater_equals") for kind_ in ("string", "bytes")
) | {"equals", "not_equals"}
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entries:
    """Sizes of the keys (or 1) and values of a list or map written in the rule."""

    container: str
    key: Range
    value: Range

    def union(self, other: Entries | None) -> Entries | None:
        return other and Entries(self.container, self.key.union(other.key), self.value.union(other.value))


@dataclass(slots=True)
class _Local:
    path: Path
    size: Range | None
    entries: Entries | None


def estimate(checked: Any, root: DeclType) -> int:
    """The greatest cost of a checked expression whose `self` and `oldSelf` are of type `root`, in CEL cost units."""
    return Coster(checked, root).cost(checked.expr).high


class Coster:
    """One walk over one expression. `paths`: through the schema, by expression id; empty where there is none."""

    def __init__(self, checked: Any, root: DeclType) -> None:
        self._types, self._references, self._root = checked.type_map, checked.reference_map, root
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Range] = {}
        self._entries: dict[int, Entries] = {}
        self._locals: dict[str, list[_Local]] = {}

    # What is known of an expression.

    def declared(self, path: Path) -> DeclType | None:
        """The declared type at a path that begins with a variable."""
        found: DeclType | None = self._root
        for step in path[1:]:
            if found is None:
                return None
            if step in ("@items", "@values"):
                found = found.elem
            elif step == "@keys":
                return _KEY if found.kind == "map" else None
            else:
                found = found.fields.get(step)
        return found

    def path(self, expr: Expr) -> Path:
        if kind(expr) == "ident_expr":
            local = self._local(expr.ident_expr.name)
            if local is not None:
                return local.path
        return self._paths.get(expr.id, ())

    def _type(self, expr: Expr) -> Any:
        # The map is protobuf's: `get` is there, but indexing an absent key would create it.
        return self._types.get(expr.id)

    def type_kind(self, expr: Expr) -> str:
        """The kind of an expression's type; where the checker knows none, that of the schema."""
        return self._type_kind(self._type(expr), self.path(expr))

    def _type_kind(self, type_: Any, path: Path) -> str:
        which = type_.WhichOneof("kind") if type_ is not None else "dyn"
        if which in ("dyn", None):
            declared = self.declared(path) if path else None
            return {"list": "list_type", "map": "map_type", "object": "message_type"}.get(
                declared.kind if declared else "", "dyn"
            )
        return str(which)

    def element(self, expr: Expr) -> tuple[bool, Range] | None:
        """Of a list: whether its items are strings or bytes, and their size; None where it is no list."""
        path = self.path(expr)
        if self.type_kind(expr) != "list_type":
            return None
        type_ = self._type(expr)
        elem = type_.list_type.elem_type if type_ is not None and type_.WhichOneof("kind") == "list_type" else None
        declared = self.declared((*path, "@items")) if path else None
        text = elem is not None and elem.primitive in (ast.STRING, ast.BYTES)
        text = text or (declared is not None and declared.kind in ("string", "bytes"))
        return text, UNKNOWN if declared is None else Range(0, declared.max_elements)

    def size(self, expr: Expr) -> Range:
        """The size of an expression's value, UNKNOWN where nothing bounds it."""
        return self._size(expr) or UNKNOWN

    def _size(self, expr: Expr) -> Range | None:
        if expr.id in self._sizes:
            return self._sizes[expr.id]
        literal = _literal_size(expr)
        if literal is not None:
            return literal
        path = self.path(expr)
        declared = self.declared(path) if path else None
        if declared is not None:
            self._sizes[expr.id] = Range(0, declared.max_elements)
            return self._sizes[expr.id]
        if self._is_scalar(self._type(expr)):
            return ONE
        if kind(expr) == "ident_expr":
            local = self._local(expr.ident_expr.name)
            return local.size if local is not None else None
        return None

    def _is_scalar(self, type_: Any) -> bool:
        which = type_.WhichOneof("kind") if type_ is not None else None
        if which == "primitive":
            return type_.primitive in (ast.BOOL, ast.INT64, ast.UINT64, ast.DOUBLE)
        if which == "well_known":
            return type_.well_known in (ast.TIMESTAMP, ast.DURATION)
        optional = which == "abstract_type" and type_.abstract_type.name == "optional_type"
        return bool(optional and self._is_scalar(type_.abstract_type.parameter_types[0]))

    def _entry(self, expr: Expr) -> Entries | None:
        if expr.id in self._entries:
            return self._entries[expr.id]
        local = self._local(expr.ident_expr.name) if kind(expr) == "ident_expr" else None
        return local.entries if local is not None else None

    # Variables of comprehensions.

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _push(self, name: str, path: Path, size: Range | None, entries: Entries | None = None) -> None:
        self._locals.setdefault(name, []).append(_Local(path, size, entries))

    def _pop(self, name: str) -> None:
        self._locals[name].pop()

    def _push_iteration(self, name: str, range_: Expr, part: str) -> None:
        """`part`: keys (indices), values, or single (the items of a list, the keys of a map)."""
        entries, path = self._entry(range_), self.path(range_)
        is_list = (entries.container if entries else self.type_kind(range_)) == "list_type"
        if part == "keys" or (part == "single" and not is_list):
            step, size = ("@indices" if is_list else "@keys"), entries.key if entries else None
        else:
            step, size = ("@items" if is_list else "@values"), entries.value if entries else None
        self._push(name, (*path, step) if path else (), size)

    # The walk.

    def cost(self, expr: Expr) -> Range:
        """The cost of evaluating `expr`; notes sizes and paths on the way."""
        which = kind(expr)
        if which == "ident_expr":
            local = self._local(expr.ident_expr.name)
            self._paths[expr.id] = local.path if local is not None else (expr.ident_expr.name,)
            return ONE
        if which == "select_expr":
            return self._select(expr)
        if which == "call_expr":
            return self._call(expr)
        if which == "list_expr":
            return self._create_list(expr)
        if which == "struct_expr":
            return self._create_struct(expr)
        if which == "comprehension_expr":
            return self._bind(expr) if ast.is_bind(expr) else self._comprehension(expr)
        return ZERO

    def _select(self, expr: Expr) -> Range:
        select = expr.select_expr
        total = self.cost(select.operand)
        if select.test_only:
            return total
        if self.type_kind(select.operand) in ("map_type", "message_type", "type_param"):
            total += ONE
        path = self.path(select.operand)
        if path:
            self._paths[expr.id] = (*path, select.field)
        return total

    def _create_list(self, expr: Expr) -> Range:
        total, item = ZERO, EMPTY_UNION if expr.list_expr.elements else ZERO
        for element in expr.list_expr.elements:
            total += self.cost(element)
            item = item.union(self.size(element))
        self._entries[expr.id] = Entries("list_type", ONE, item)
        return total + fixed(_CREATE["list_expr"])

    def _create_struct(self, expr: Expr) -> Range:
        total, struct = ZERO, expr.struct_expr
        if struct.message_name:
            return sum((self.cost(entry.value) for entry in struct.entries), fixed(_CREATE["struct"]))
        key = value = EMPTY_UNION if struct.entries else ZERO
        for entry in struct.entries:
            total += self.cost(entry.map_key) + self.cost(entry.value)
            key, value = key.union(self.size(entry.map_key)), value.union(self.size(entry.value))
        self._entries[expr.id] = Entries("map_type", key, value)
        return total + fixed(_CREATE["map"])

    def _bind(self, expr: Expr) -> Range:
        loop = expr.comprehension_expr
        total = self.cost(loop.iter_range) + self.cost(loop.accu_init)
        self._push(loop.accu_var, self.path(loop.accu_init), self._size(loop.accu_init), self._entry(loop.accu_init))
        total += self.cost(loop.result)
        self._pop(loop.accu_var)
        self._copy(expr, loop.result)
        return total

    def _comprehension(self, expr: Expr) -> Range:
        loop = expr.comprehension_expr
        total = self.cost(loop.iter_range) + self.cost(loop.accu_init)
        self._push(loop.accu_var, self.path(loop.accu_init), self._size(loop.accu_init), self._entry(loop.accu_init))
        if loop.iter_var2:
            self._push_iteration(loop.iter_var, loop.iter_range, "keys")
            self._push_iteration(loop.iter_var2, loop.iter_range, "values")
        else:
            self._push_iteration(loop.iter_var, loop.iter_range, "single")
        each = self.cost(loop.loop_condition) + self.cost(loop.loop_step)
        self._pop(loop.iter_var)
        if loop.iter_var2:
            self._pop(loop.iter_var2)
        total += self.cost(loop.result)
        self._pop(loop.accu_var)
        count = self.size(loop.iter_range)
        if kind(loop.accu_init) == "const_expr":
            self._sizes[expr.id] = self.size(loop.accu_init)
        elif kind(loop.accu_init) in ("list_expr", "struct_expr"):
            self._sizes[expr.id] = count
            step = self._entry(loop.loop_step)
            if step is not None:
                self._entries[expr.id] = step
        return total + count * each

    def _copy(self, target: Expr, source: Expr) -> None:
        size, entries = self._size(source), self._entry(source)
        if size is not None:
            self._sizes[target.id] = size
        if entries is not None:
            self._entries[target.id] = entries

    def _call(self, expr: Expr) -> Range:
        call = expr.call_expr
        if call.function == "dyn":
            total = ONE + self.cost(call.args[0])
            self._copy(expr, call.args[0])
            return total
        arguments = [self.cost(argument) for argument in call.args]
        total = self.cost(call.target) if call.HasField("target") else ZERO
        overloads = list(self._references[expr.id].overload_id) if expr.id in self._references else []
        if not overloads:
            return ZERO
        function, result = EMPTY_UNION, None
        for overload in overloads:
            cost, size = self._function(expr, overload, arguments)
            function = function.union(cost)
            if size is not None:
                result = size if result is None else result.union(size)
            if overload in ("index_list", "index_map"):
                container = self.path(call.args[0])
                if container:
                    self._paths[expr.id] = (*container, "@items" if overload == "index_list" else "@values")
                entries = self._entry(call.args[0])
                result = entries.value if entries else None
            result = result or self._size(expr)
        if result is not None:
            self._sizes[expr.id] = result
        return total + function

    def _function(self, expr: Expr, overload: str, arguments: list[Range]) -> tuple[Range, Range | None]:
        """The cost of a call with its arguments, and the size of its result where that is known."""
        call = expr.call_expr
        args, of_arguments = call.args, sum(arguments, ZERO)
        own = callcost.kubernetes(self, call, overload)
        if own is not None:
            return own[0] + of_arguments, own[1]
        if overload in ("logical_or", "logical_and"):
            return Range(arguments[0].low, (arguments[0] + arguments[1]).high), None
        if overload == "conditional":
            yes, no = self._entry(args[1]), self._entry(args[2])
            both = yes.union(no) if yes is not None else None
            if both is not None:
                self._entries[expr.id] = both
            return arguments[0] + arguments[1].union(arguments[2]), self.size(args[1]).union(self.size(args[2]))
        if overload in ("add_string", "add_bytes", "add_list"):
            size = self.size(args[0]) + self.size(args[1])
            left, right = self._entry(args[0]), self._entry(args[1])
            both = left.union(right) if left is not None else None
            if both is not None:
                self._entries[expr.id] = both
            return (ONE if overload == "add_list" else size.scaled(STRING_FACTOR)) + of_arguments, size
        if overload in _STRING_COMPARE:
            most = min(self.size(args[0]).high, self.size(args[1]).high)
            return Range(min(most, 1), most).scaled(STRING_FACTOR) + of_arguments, None
        standard = callcost.standard(self, call, overload)
        if standard is not None:
            return standard[0] + of_arguments, standard[1]
        return ONE + of_arguments, None


_KEY: Final = DeclType("string", callcost.NO_NODE)


def _literal_size(expr: Expr) -> Range | None:
    which = kind(expr)
    if which == "const_expr":
        constant = expr.const_expr
        of = constant.WhichOneof("kind")
        if of == "string_value":
            return fixed(len(constant.string_value))
        return fixed(len(constant.bytes_value)) if of == "bytes_value" else ONE
    if which == "list_expr":
        return fixed(len(expr.list_expr.elements))
    if which == "struct_expr" and not expr.struct_expr.message_name:
        return fixed(len(expr.struct_expr.entries))
    return None
