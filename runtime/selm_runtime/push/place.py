"""A place in an OCI registry, as a URI names it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from selm_runtime.errors import InvalidInput

OCI = "oci://"
DEFAULT_TAG = "latest"
ALLOWED = "oci://<registry>/<name>[:<tag>]"
"""Of a URI; the name in lower case, as the specification has it."""
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PLACE = re.compile(
    r"oci://(?P<host>[a-zA-Z0-9][-.a-zA-Z0-9]*(?::[0-9]+)?)/"
    rf"(?P<name>{_PART}(?:/{_PART})*)(?::(?P<tag>[a-zA-Z0-9_][-.a-zA-Z0-9_]{{0,127}}))?"
)


@dataclass(frozen=True)
class Place:
    """A tag of a repository in a registry."""

    host: str
    """With its port, where the URI has one."""
    name: str
    tag: str

    @classmethod
    def of(cls, uri: str, field: str) -> Place:
        """Raises InvalidInput for what is no place in a registry."""
        match = _PLACE.fullmatch(uri)
        if match is None:
            raise InvalidInput("InvalidURI", f"{field}: found {uri!r}, allowed is {ALLOWED}")
        return cls(match["host"], match["name"], match["tag"] or DEFAULT_TAG)

    @property
    def uri(self) -> str:
        return f"{OCI}{self.host}/{self.name}:{self.tag}"
