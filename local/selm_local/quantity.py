"""Kubernetes quantities ("500m", "8Gi", 2, "1e3") as exact numbers.

Grammar: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
}
_DECIMAL = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(n|u|m|k|[MGTPE]|[KMGTPE]i)?)")


def parse_quantity(value: str | int | float) -> Fraction:
    """The exact number that a quantity means.

    Raises:
        ValueError: the text is no quantity; the message names what was found and what is allowed.
    """
    match = _QUANTITY.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is no quantity: allowed are numbers with a suffix such as 500m, 2, 8Gi or 1e3")
    number, exponent, suffix = match.groups()
    return Fraction(number + (exponent or "")) * _SUFFIXES[suffix or ""]


def whole(value: str | int | float) -> int:
    """The quantity rounded up to a whole number: bytes of memory, counts of devices."""
    return math.ceil(parse_quantity(value))


def format_milli(value: Fraction) -> str:
    """A quantity of cpu the way Kubernetes prints it: "2" or "1500m"."""
    milli = math.ceil(value * 1000)
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def format_binary(value: int) -> str:
    """A number of bytes in the largest binary unit that shows it exactly: "8Gi", "1500Ki", "1234"."""
    for letter, power in (("Ei", 6), ("Pi", 5), ("Ti", 4), ("Gi", 3), ("Mi", 2), ("Ki", 1)):
        unit = 1024**power
        if value and value % unit == 0:
            return f"{value // unit}{letter}"
    return str(value)


def canonical(text: str) -> str:
    """The quantity as the API server writes it, whatever the client wrote: "1000m" is "1", "1024Mi" is "1Gi".

    Text that is no quantity comes back as it is; validation refuses it elsewhere.
    Source: k8s.io/apimachinery/pkg/api/resource/quantity.go (CanonicalizeBytes).
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return text
    number, exponent, suffix = match.groups()
    value = Fraction(number + (exponent or "")) * _SUFFIXES[suffix or ""]
    if (suffix or "").endswith("i") and abs(value) >= 1024:
        return ("-" if value < 0 else "") + format_binary(math.ceil(abs(value)))
    nano = math.ceil(abs(value) * 10**9)
    if nano == 0:
        return "0"
    power = -9
    while nano % 1000 == 0 and power < 18:
        nano, power = nano // 1000, power + 3
    ending = (f"e{power}" if power else "") if exponent else _DECIMAL[power]
    return f"{'-' if value < 0 else ''}{nano}{ending}"
