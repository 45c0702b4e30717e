"""URLs, IP addresses and CIDR ranges of Kubernetes' CEL libraries.

Source: k8s.io/apiserver/pkg/cel/library (urls.go, ip.go, cidr.go). Values are maps of one entry: `{"@url": text}`,
`{"@ip": canonical}`, `{"@cidr": canonical}`.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _inner(value: Any, tag: str) -> str:
    if not isinstance(value, dict) or tag not in value:
        raise ValueError("no such overload")
    return str(value[tag])


# URLs: absolute URIs, or absolute paths.


def _split(text: str) -> SplitResult:
    parts = urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    if any(char.isspace() or ord(char) < 32 for char in text):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid character")
    _ = parts.port  # a wrong port is an error of its own
    return parts


def url(text: str) -> dict[str, str]:
    _split(text)
    return {"@url": text}


def is_url(text: str) -> bool:
    try:
        _split(text)
    except ValueError:
        return False
    return True


def _url(value: Any) -> SplitResult:
    return urlsplit(_inner(value, "@url"))


def url_scheme(value: Any) -> str:
    return _url(value).scheme


def url_host(value: Any) -> str:
    return _url(value).netloc.rpartition("@")[2]


def url_hostname(value: Any) -> str:
    host = url_host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def url_port(value: Any) -> str:
    port = _url(value).port
    return "" if port is None else str(port)


def url_path(value: Any) -> str:
    return _url(value).path


def url_query(value: Any) -> dict[str, list[str]]:
    return parse_qs(_url(value).query, keep_blank_values=True)


# IP addresses: neither zones nor IPv4-mapped IPv6.


def _parse_ip(text: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"IP Address {text!r} parse error during conversion from string") from None
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped is not None or address.scope_id):
        raise ValueError(f"IP Address {text!r} parse error: IPv4-mapped IPv6 addresses and zones are not allowed")
    return address


def ip(value: Any) -> dict[str, str]:
    """`ip(string)`, and `cidr.ip()`, which share a name and a number of arguments."""
    return cidr_ip(value) if isinstance(value, dict) else {"@ip": str(_parse_ip(value))}


def is_ip(text: str) -> bool:
    try:
        _parse_ip(text)
    except ValueError:
        return False
    return True


def ip_is_canonical(text: str) -> bool:
    return str(_parse_ip(text)) == text


def _ip(value: Any) -> Address:
    return ipaddress.ip_address(_inner(value, "@ip"))


def ip_family(value: Any) -> int:
    return _ip(value).version


def ip_is(value: Any, name: str) -> bool:
    """One of the isUnspecified, isLoopback, ... methods."""
    address = _ip(value)
    if name == "isUnspecified":
        return address.is_unspecified
    if name == "isLoopback":
        return address.is_loopback
    if name == "isLinkLocalMulticast":
        if address.version == 4:
            return address in ipaddress.ip_network("224.0.0.0/24")
        return address.is_multicast and (int(address) >> 112) & 0xF == 2
    if name == "isLinkLocalUnicast":
        return address.is_link_local
    broadcast = address.version == 4 and int(address) == 2**32 - 1
    return not (
        broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    )


# CIDR ranges.


def _parse_cidr(text: str) -> Interface:
    if "/" not in text:
        raise ValueError(f"network address parse error during conversion from string: {text!r} has no '/'")
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(f"network address parse error during conversion from string: {text!r}") from None


def cidr(text: str) -> dict[str, str]:
    return {"@cidr": str(_parse_cidr(text))}


def is_cidr(text: str) -> bool:
    try:
        _parse_cidr(text)
    except ValueError:
        return False
    return True


def _cidr(value: Any) -> Interface:
    return ipaddress.ip_interface(_inner(value, "@cidr"))


def cidr_ip(value: Any) -> dict[str, str]:
    return {"@ip": str(_cidr(value).ip)}


def cidr_masked(value: Any) -> dict[str, str]:
    return {"@cidr": str(_cidr(value).network)}


def cidr_prefix(value: Any) -> int:
    return _cidr(value).network.prefixlen


def cidr_contains_ip(value: Any, other: Any) -> bool:
    return (_parse_ip(other) if isinstance(other, str) else _ip(other)) in _cidr(value).network


def cidr_contains_cidr(value: Any, other: Any) -> bool:
    outer = _cidr(value).network
    inner = (_parse_cidr(other) if isinstance(other, str) else _cidr(other)).network
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer
