"""Costs of single function calls.

Source: github.com/google/cel-go/checker/cost.go for the standard ones, k8s.io/apiserver/pkg/cel/library/cost.go
(EstimateCallCost) for Kubernetes' libraries.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from selm_local.apiserver.schema.cel.estimate import ONE, UNKNOWN_MAX, ZERO, Range
from selm_local.apiserver.schema.node import Node

if TYPE_CHECKING:
    from selm_local.apiserver.schema.cel.cost import Coster

_STRING: Final = 0.1
_REGEX: Final = 0.25
NO_NODE: Final = Node(source={})
Cost = tuple[Range, Range | None]
_NOMINAL: Final = frozenset(
    [
        "masked",
        "prefixLength",
        "family",
        "isUnspecified",
        "isLoopback",
        "isLinkLocalMulticast",
        "isLinkLocalUnicast",
        "sign",
        "asInteger",
        "isInteger",
        "asApproximateFloat",
        "isGreaterThan",
        "isLessThan",
        "compareTo",
        "add",
        "sub",
    ]
)


def standard(coster: Coster, call: Any, overload: str) -> Cost | None:
    """Cost and result size of a call of CEL's own functions without that of its arguments; None: 1 unit."""
    args = call.args
    target = call.target if call.HasField("target") else None
    if overload in ("starts_with_string", "ends_with_string") and len(args) == 1:
        return coster.size(args[0]).scaled(_STRING), None
    if overload == "in_list" and len(args) == 2:
        return coster.size(args[1]), None
    if overload == "matches_string" and target is not None:
        text = (coster.size(target) + ONE).scaled(_STRING)
        return text * coster.size(args[0]).scaled(_REGEX), None
    if overload == "contains_string" and target is not None:
        return coster.size(target).scaled(_STRING) * coster.size(args[0]).scaled(_STRING), None
    if overload in ("string_format", "string_format_list") and target is not None:
        size = coster.size(target)
        return size.scaled(_STRING), size + coster.size(args[0])
    if overload == "string_to_bytes":
        size = coster.size(args[0])
        return size.scaled(_STRING), Range(size.low, min(size.high * 4, UNKNOWN_MAX))
    if overload == "bytes_to_string":
        size = coster.size(args[0])
        return size.scaled(_STRING), Range(size.low // 4, size.high)
    if overload == "strings_quote":
        size = coster.size(args[0])
        return size.scaled(_STRING), Range(size.low + 2, min(size.high * 2 + 2, UNKNOWN_MAX))
    return None


def kubernetes(coster: Coster, call: Any, overload: str) -> Cost | None:
    """The same for Kubernetes' libraries; None where the function is none of theirs."""
    name, args = call.function, call.args
    target = call.target if call.HasField("target") else None
    if name in _NOMINAL:
        return ONE, None
    if target is None:
        return (coster.size(args[0]).scaled(_STRING), None) if name == "url" and len(args) == 1 else None
    size = coster.size(target)
    if name in ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"):
        element = coster.element(target)
        if element is None:
            return size.scaled(_STRING), None
        text, item = element
        return size * (ONE + item.scaled(_STRING) if text else ONE), None
    if name in ("lowerAscii", "upperAscii", "substring", "trim"):
        return size.scaled(_STRING), size
    if name == "replace" and len(args) >= 2:
        return size.scaled(2 * _STRING), _replaced(size, coster.size(args[0]), coster.size(args[1]))
    if name == "split":
        return size.scaled(2 * _STRING), Range(0, size.high)
    if name == "join":
        return _joined(coster, call, size)
    if name in ("find", "findAll") and args:
        text_cost = (size + ONE).scaled(_STRING)
        return text_cost * coster.size(args[0]).scaled(_REGEX), Range(0, size.high)
    if name in ("containsIP", "containsCIDR") and args:
        cost = Range(8, 32).scaled(_STRING)
        if name == "containsCIDR":
            cost = cost + Range(4, 16).scaled(_STRING) + ONE
        return (cost + coster.size(args[0]).scaled(_STRING) if overload.endswith("_string") else cost), None
    return (ONE, None) if name == "ip" else None


def _joined(coster: Coster, call: Any, size: Range) -> Cost:
    element = coster.element(call.target)
    total = size * element[1] if element is not None else ZERO
    if call.args:
        separators = Range(max(size.low - 1, 0), max(size.high - 1, 0))
        total += coster.size(call.args[0]) * separators
    return total.scaled(_STRING), total


def _replaced(size: Range, old: Range, new: Range) -> Range:
    """The size of a string of `size` after old parts were replaced by new ones."""
    if old.low == 0:
        most, kept = min(size.high + 1, UNKNOWN_MAX), size.high
    elif new.high <= old.low:
        most, kept = 0, size.high
    else:
        most, kept = math.ceil(size.high / old.low), 0
    if old.high == 0:
        least, kept_low = size.low + 1, size.low
    elif old.high <= new.low:
        least, kept_low = 0, size.low
    else:
        least, kept_low = math.ceil(size.low / old.high), 0
    return Range(least, most) * new + Range(kept_low, kept)
