"""The string formats that kube-apiserver checks (others are ignored).

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go and k8s.io/kube-openapi/pkg/validation/strfmt.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlparse

from selm_local.apiserver.schema import names

_DATE_TIME = re.compile(r"^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_UNIT_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}


def parse_date_time(text: str) -> dt.datetime | None:
    """RFC 3339; fractions beyond microseconds are cut."""
    match = _DATE_TIME.match(text)
    if match is None:
        return None
    fraction = (match[7] or "")[1:7]
    zone = match[8].upper()
    try:
        moment = dt.datetime(*(int(match[i]) for i in range(1, 7)), int(fraction.ljust(6, "0") or 0))  # type: ignore[arg-type, call-arg]
        offset = (
            dt.timedelta()
            if zone == "Z"
            else dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
        )
        return moment.replace(tzinfo=dt.timezone(offset))
    except (ValueError, OverflowError):
        return None


def parse_date(text: str) -> dt.datetime | None:
    """YYYY-MM-DD at midnight UTC."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is None:
        return None
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def parse_duration(text: str) -> dt.timedelta | None:
    """Go's durations (1h30m, 1.5s, -2m), with d and w beside."""
    sign, body = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if body == "0":
        return dt.timedelta()
    body = body.replace(" ", "")
    parts = _DURATION_PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        return None
    try:
        return dt.timedelta(seconds=sign * sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))
    except OverflowError:
        return None


def parse_bytes(text: str) -> bytes | None:
    """Standard base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _uri(text: str) -> bool:
    try:
        parsed = urlparse(text)
    except ValueError:
        return False
    return bool(parsed.scheme) or text.startswith("/")


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_UUID: Final = r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12}"

CHECKS: Final[dict[str, Callable[[str], bool]]] = {
    "date-time": lambda text: parse_date_time(text) is not None,
    "datetime": lambda text: parse_date_time(text) is not None,
    "date": lambda text: parse_date(text) is not None,
    "duration": lambda text: parse_duration(text) is not None,
    "byte": lambda text: parse_bytes(text) is not None,
    "password": lambda _: True,
    "uri": _uri,
    "email": _pattern(r"[^@\s]+@[^@\s]+"),
    "hostname": _pattern(
        r"(?=.{1,255}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?"
    ),
    "ipv4": lambda text: _address(text, 4),
    "ipv6": lambda text: _address(text, 6),
    "cidr": _cidr,
    "mac": _pattern(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"),
    "uuid": _pattern(_UUID % ("[0-9a-f]", "[0-9a-f]")),
    "uuid3": _pattern(_UUID % ("3", "[0-9a-f]")),
    "uuid4": _pattern(_UUID % ("4", "[89ab]")),
    "uuid5": _pattern(_UUID % ("5", "[89ab]")),
    "bsonobjectid": _pattern(r"[0-9a-fA-F]{24}"),
    "isbn": _pattern(r"(\d[- ]?){9}[\dX]|(\d[- ]?){13}"),
    "isbn10": _pattern(r"(\d[- ]?){9}[\dX]"),
    "isbn13": _pattern(r"(\d[- ]?){13}"),
    "creditcard": _pattern(r"(\d[- ]?){12,18}\d"),
    "ssn": _pattern(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _pattern(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _pattern(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "k8s-short-name": lambda text: not names.dns1123_label(text),
    "k8s-long-name": lambda text: not names.dns1123_subdomain(text),
}

INTEGER_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
