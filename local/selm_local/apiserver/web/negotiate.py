"""What an Accept header asks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from selm_local.apiserver.errors import not_acceptable

# A real server also takes protobuf.
ACCEPTED = ("application/json", "application/yaml")


@dataclass(frozen=True, slots=True)
class Wanted:
    """yaml: the answer's syntax. as_kind: "Table", "PartialObjectMetadata", "PartialObjectMetadataList",
    "APIGroupDiscoveryList" or "". pretty: indented JSON."""

    yaml: bool = False
    as_kind: str = ""
    version: str = ""
    media_type: str = "application/json"


_TRANSFORMS = {
    ("meta.k8s.io", "v1", "Table"),
    ("meta.k8s.io", "v1beta1", "Table"),
    ("meta.k8s.io", "v1", "PartialObjectMetadata"),
    ("meta.k8s.io", "v1", "PartialObjectMetadataList"),
    ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"),
}


@lru_cache(maxsize=256)
def wanted(accept: str | None) -> Wanted:
    """The first acceptable alternative. Raises ApiError 406."""
    if not accept:
        return Wanted()
    for part in accept.split(","):
        media, *pairs = (p.strip() for p in part.split(";"))
        parameters = dict(p.split("=", 1) for p in pairs if "=" in p)
        syntax = _syntax(media)
        if syntax is None:
            continue
        if "as" not in parameters:
            return Wanted(syntax)
        transform = (parameters.get("g", ""), parameters.get("v", ""), parameters["as"])
        if transform in _TRANSFORMS:
            return Wanted(syntax, transform[2], transform[1])
    raise not_acceptable(ACCEPTED)


def _syntax(media: str) -> bool | None:
    if media in ("application/json", "application/*", "*/*"):
        return False
    return True if media in ("application/yaml", "text/yaml") else None
