"""The two CEL environments of a schema (see the package's docstring)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from cel_expr_python import cel

from selm_local.apiserver.schema.cel import library

T = cel.Type
_COMPARISONS: Final = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
_NUMBERS: Final = {"int64": T.INT, "uint64": T.UINT, "double": T.DOUBLE}
_OTHERS: Final = {
    "bool": T.BOOL,
    "string": T.STRING,
    "bytes": T.BYTES,
    "timestamp": T.TIMESTAMP,
    "duration": T.DURATION,
}
# What Kubernetes 1.36 offers of CEL's own extensions: these and no others.
_EXTENSIONS: Final = """
extensions:
- name: optional
- name: strings
  version: 2
- name: sets
- name: two-var-comprehensions
"""
_BINDINGS: Final = "- name: bindings\n"
_EXCLUDED: Final = "stdlib:\n  exclude_functions:\n" + "".join(f"  - name: {name}\n" for name in _COMPARISONS)


def _comparisons() -> list[cel.FunctionDecl]:
    """CEL's comparisons, and those across kinds of numbers, which Kubernetes allows and this library does not."""
    declared = []
    for operator, name in _COMPARISONS.items():
        overloads = [
            cel.Overload(f"{name}_{left}" if left == right else f"{name}_{left}_{right}", T.BOOL, [a, b])
            for (left, a), (right, b) in itertools.product(_NUMBERS.items(), repeat=2)
        ]
        overloads += [cel.Overload(f"{name}_{kind}", T.BOOL, [type_, type_]) for kind, type_ in _OTHERS.items()]
        declared.append(cel.FunctionDecl(operator, overloads))
    return declared


def checking(pool: Any, self_type: cel.Type, *, bindings: bool = False) -> cel.Env:
    """Where rules on a node of `self_type` are type-checked; `pool` has the messages that stand for objects."""
    config = cel.NewEnvConfigFromYaml(_EXTENSIONS + (_BINDINGS if bindings else "") + _EXCLUDED)
    return cel.NewEnv(
        descriptor_pool=pool,
        config=config,
        variables={"self": self_type, "oldSelf": self_type, OLD_SELF: self_type},
        functions=_comparisons(),
        extensions=[library.declarations()],
    )


def evaluating(functions: Sequence[cel.FunctionDecl]) -> cel.Env:
    """Where rules run: `self` and `oldSelf` are plain maps, lists and scalars; `functions` are the schema's own."""
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_EXTENSIONS + _BINDINGS),
        variables={"self": T.DYN, "oldSelf": T.DYN, OLD_SELF: T.DYN},
        functions=functions,
        extensions=[library.implementations()],
    )


OLD_SELF: Final = "oldSelf__value"
"""The old value under the hood of a rule whose `oldSelf` is optional. (No property escapes to this name.)"""
