"""The function libraries that Kubernetes adds to CEL, as far as this CEL can take them.

Source: k8s.io/apiserver/pkg/cel/library (regex, lists, urls, ip, cidr, quantity). What they return are values of types
of their own; the evaluator knows them as maps of one entry (`{"@quantity": "3/2"}`), so that CEL's own `==` works.
Not offered, and refused when a rule is compiled: format, semver, image, jsonpatch, authorizer.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from cel_expr_python import cel

from selm_local.apiserver.schema import regex
from selm_local.apiserver.schema.cel import network, quantities
from selm_local.apiserver.schema.cel.convert import cel_duration, cel_time

T = cel.Type
OPAQUE: Final = ("kubernetes.Quantity", "kubernetes.URL", "net.IP", "net.CIDR")
"""Types of the libraries' values; the checking environment knows them as messages without fields."""
QUANTITY, URL, IP, CIDR = (T(name) for name in OPAQUE)
_SCALARS: Final = (T.INT, T.UINT, T.DOUBLE, T.BOOL, T.STRING, T.BYTES, T.TIMESTAMP, T.DURATION)

UNSUPPORTED: Final = {
    "format": "format",
    "semver": "semver",
    "isSemver": "semver",
    "image": "image",
    "isImage": "image",
    "jsonpatch": "jsonpatch",
    "authorizer": "authorizer",
}
"""Names whose use is refused with the name of Kubernetes' library that they belong to."""


@dataclass(frozen=True)
class Function:
    """One overload: `parameters` begin with the target of a member function."""

    name: str
    parameters: tuple[cel.Type, ...]
    result: cel.Type
    implementation: Callable[..., Any]
    member: bool = True

    def overload_id(self) -> str:
        words = re.findall(r"[A-Za-z0-9]+", " ".join([self.name, *(p.name() for p in self.parameters)]))
        return "kubernetes_" + "_".join(words).lower()


def _given(value: Any) -> Any:
    """A result as the CEL library takes it back."""
    if isinstance(value, dt.datetime):
        return cel_time(value)
    return cel_duration(value) if isinstance(value, dt.timedelta) else value


def _total(values: list[Any], zero: Any) -> Any:
    return _given(sum(values, zero))


def _least(values: list[Any]) -> Any:
    if not values:
        raise ValueError("min called on empty list")
    return _given(min(values))


def _greatest(values: list[Any]) -> Any:
    if not values:
        raise ValueError("max called on empty list")
    return _given(max(values))


def _is_sorted(values: list[Any]) -> bool:
    return all(left <= right for left, right in itertools.pairwise(values))


def _index_of(values: list[Any], value: Any) -> int:
    return next((i for i, each in enumerate(values) if _same(each, value)), -1)


def _last_index_of(values: list[Any], value: Any) -> int:
    return next((i for i in reversed(range(len(values))) if _same(values[i], value)), -1)


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _compiled(pattern: str) -> re.Pattern[str]:
    wrong = regex.problem(pattern)
    if wrong is not None:
        raise ValueError(f"Illegal regex: {wrong}")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"this server cannot search with the regex {pattern!r}: {error}") from error


def _find(text: str, pattern: str) -> str:
    found = _compiled(pattern).search(text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    found = [match[0] for match in _compiled(pattern).finditer(text)]
    return found if most < 0 else found[:most]


def _lists() -> list[Function]:
    functions = []
    zeros = [(T.INT, 0), (T.UINT, 0), (T.DOUBLE, 0.0), (T.DURATION, dt.timedelta())]
    for item in _SCALARS:
        values = T.List(item)
        functions.append(Function("isSorted", (values,), T.BOOL, _is_sorted))
        functions.append(Function("min", (values,), item, _least))
        functions.append(Function("max", (values,), item, _greatest))
        zero = next((zero for type_, zero in zeros if type_ == item), None)
        if zero is not None:
            functions.append(Function("sum", (values,), item, partial(_total, zero=zero)))
    functions.append(Function("indexOf", (T.LIST, T.DYN), T.INT, _index_of))
    functions.append(Function("lastIndexOf", (T.LIST, T.DYN), T.INT, _last_index_of))
    return functions


def _regex() -> list[Function]:
    return [
        Function("find", (T.STRING, T.STRING), T.STRING, _find),
        Function("findAll", (T.STRING, T.STRING), T.List(T.STRING), _find_all),
        Function("findAll", (T.STRING, T.STRING, T.INT), T.List(T.STRING), _find_all),
    ]


def _quantities() -> list[Function]:
    q = quantities
    functions = [
        Function("quantity", (T.STRING,), QUANTITY, q.quantity, member=False),
        Function("isQuantity", (T.STRING,), T.BOOL, q.is_quantity, member=False),
        Function("sign", (QUANTITY,), T.INT, q.sign),
        Function("isInteger", (QUANTITY,), T.BOOL, q.is_integer),
        Function("asInteger", (QUANTITY,), T.INT, q.as_integer),
        Function("asApproximateFloat", (QUANTITY,), T.DOUBLE, q.as_float),
        Function("isGreaterThan", (QUANTITY, QUANTITY), T.BOOL, lambda left, right: q.compare(left, right) > 0),
        Function("isLessThan", (QUANTITY, QUANTITY), T.BOOL, lambda left, right: q.compare(left, right) < 0),
        Function("compareTo", (QUANTITY, QUANTITY), T.INT, q.compare),
    ]
    for other in (QUANTITY, T.INT):
        functions.append(Function("add", (QUANTITY, other), QUANTITY, q.add))
        functions.append(Function("sub", (QUANTITY, other), QUANTITY, q.subtract))
    return functions


def _urls() -> list[Function]:
    n = network
    return [
        Function("url", (T.STRING,), URL, n.url, member=False),
        Function("isURL", (T.STRING,), T.BOOL, n.is_url, member=False),
        Function("getScheme", (URL,), T.STRING, n.url_scheme),
        Function("getHost", (URL,), T.STRING, n.url_host),
        Function("getHostname", (URL,), T.STRING, n.url_hostname),
        Function("getPort", (URL,), T.STRING, n.url_port),
        Function("getEscapedPath", (URL,), T.STRING, n.url_path),
        Function("getQuery", (URL,), T.Map(T.STRING, T.List(T.STRING)), n.url_query),
    ]


def _addresses() -> list[Function]:
    n = network
    functions = [
        Function("ip", (T.STRING,), IP, n.ip, member=False),
        Function("isIP", (T.STRING,), T.BOOL, n.is_ip, member=False),
        Function("ip.isCanonical", (T.STRING,), T.BOOL, n.ip_is_canonical, member=False),
        Function("family", (IP,), T.INT, n.ip_family),
        Function("cidr", (T.STRING,), CIDR, n.cidr, member=False),
        Function("isCIDR", (T.STRING,), T.BOOL, n.is_cidr, member=False),
        Function("ip", (CIDR,), IP, n.cidr_ip),
        Function("masked", (CIDR,), CIDR, n.cidr_masked),
        Function("prefixLength", (CIDR,), T.INT, n.cidr_prefix),
    ]
    functions += [
        Function(name, (IP,), T.BOOL, partial(n.ip_is, name=name))
        for name in ("isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast", "isGlobalUnicast")
    ]
    for other in (T.STRING, IP):
        functions.append(Function("containsIP", (CIDR, other), T.BOOL, n.cidr_contains_ip))
    for other in (T.STRING, CIDR):
        functions.append(Function("containsCIDR", (CIDR, other), T.BOOL, n.cidr_contains_cidr))
    return functions


FUNCTIONS: Final = [*_lists(), *_regex(), *_quantities(), *_urls(), *_addresses()]


def declarations() -> cel.CelExtension:
    """The functions with their exact types, for the checking environment (without implementations)."""
    by_name: dict[str, list[cel.Overload]] = {}
    for function in FUNCTIONS:
        overload = cel.Overload(
            function.overload_id(), function.result, list(function.parameters), is_member=function.member
        )
        by_name.setdefault(function.name, []).append(overload)
    return cel.CelExtension("kubernetes", [cel.FunctionDecl(name, each) for name, each in by_name.items()])


def _runtime_type(declared: cel.Type) -> list[cel.Type]:
    """The kinds that an argument declared so can have when a rule runs."""
    if declared.name() in OPAQUE:
        return [T.MAP]
    if declared.name().startswith("LIST"):
        return [T.LIST]
    if declared == T.DYN:
        return [*_SCALARS, T.MAP, T.LIST]
    return [declared]


def implementations() -> cel.CelExtension:
    """The functions by the kinds of their arguments, for the evaluating environment."""
    by_name: dict[str, dict[str, cel.Overload]] = {}
    for function in FUNCTIONS:
        for kinds in _combinations([_runtime_type(parameter) for parameter in function.parameters]):
            key = f"{function.name}_{function.member}_" + "_".join(kind.name() for kind in kinds)
            overload = cel.Overload(
                f"runtime_{key}", T.DYN, kinds, is_member=function.member, impl=_dispatch(function, len(kinds))
            )
            by_name.setdefault(function.name, {}).setdefault(key, overload)
    extension = [cel.FunctionDecl(name, list(overloads.values())) for name, overloads in by_name.items()]
    return cel.CelExtension("kubernetes", extension)


def _dispatch(function: Function, arguments: int) -> Callable[..., Any]:
    """The implementation for this name and number of arguments; `sum` alone depends on what a list holds."""
    if function.name == "sum":
        return lambda values: _total(values[1:], values[0]) if values else 0
    if function.name == "containsIP" and arguments == 2:
        return network.cidr_contains_ip
    return function.implementation


def _combinations(choices: list[list[cel.Type]]) -> list[list[cel.Type]]:
    if not choices:
        return [[]]
    return [[first, *rest] for first in choices[0] for rest in _combinations(choices[1:])]
