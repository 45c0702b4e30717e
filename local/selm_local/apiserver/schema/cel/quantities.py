"""Kubernetes' resource quantities, exact.

Source: k8s.io/apimachinery/pkg/api/resource/quantity.go and k8s.io/apiserver/pkg/cel/library/quantity.go. A quantity is
a map `{"@quantity": "<numerator>/<denominator>"}`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final

_TAG: Final = "@quantity"
_FORM: Final = re.compile(
    r"^(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$", re.ASCII
)
_BINARY: Final = {name: Fraction(1024) ** i for i, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)}
_DECIMAL: Final = {
    name: Fraction(10) ** e for name, e in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}
Quantity = dict[str, str]


def parse(text: str) -> Fraction:
    """The value of a quantity such as 1.5Gi, 100m, 2e3; ValueError where it is none."""
    match = _FORM.match(text)
    if match is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    suffix = match["suffix"] or ""
    factor = _BINARY.get(suffix) or _DECIMAL.get(suffix)
    if factor is None:
        exponent = int(suffix[1:]) if suffix else 0
        if abs(exponent) > 400:
            raise ValueError("the exponent of a quantity must be within -400 and 400")
        factor = Fraction(10) ** exponent
    return Fraction(match["number"]) * factor


def _value(quantity: Any) -> Fraction:
    if not isinstance(quantity, dict) or _TAG not in quantity:
        raise ValueError("no such overload")
    return Fraction(quantity[_TAG])


def _of(value: Fraction) -> Quantity:
    return {_TAG: f"{value.numerator}/{value.denominator}"}


def quantity(text: str) -> Quantity:
    return _of(parse(text))


def is_quantity(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def compare(left: Any, right: Any) -> int:
    difference = _value(left) - _value(right)
    return (difference > 0) - (difference < 0)


def sign(of: Any) -> int:
    value = _value(of)
    return (value > 0) - (value < 0)


def is_integer(of: Any) -> bool:
    value = _value(of)
    return value.denominator == 1 and -(2**63) <= value < 2**63


def as_integer(of: Any) -> int:
    if not is_integer(of):
        raise ValueError("cannot convert value to integer")
    return int(_value(of))


def as_float(of: Any) -> float:
    return float(_value(of))


def _operand(of: Any) -> Fraction:
    return Fraction(of) if isinstance(of, int) else _value(of)


def add(left: Any, right: Any) -> Quantity:
    return _of(_value(left) + _operand(right))


def subtract(left: Any, right: Any) -> Quantity:
    return _of(_value(left) - _operand(right))
