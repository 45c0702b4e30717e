"""What an OCI registry is shown: user name and password, or an entry of a Docker configuration."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selm_runtime.contract import ENV_REGISTRY_CONFIG, ENV_REGISTRY_PASSWORD, ENV_REGISTRY_USERNAME
from selm_runtime.errors import InvalidInput

_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
"""Names of one registry."""


@dataclass(frozen=True)
class Credentials:
    """At most one of the three ways is there; as a text, it tells no secret."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    identity_token: str | None = field(default=None, repr=False)
    registry_token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.username is not None:
            return f"user {self.username!r}"
        if self.identity_token is not None or self.registry_token is not None:
            return "the bearer of the token"
        return "whoever shows no credentials"


NONE = Credentials()


def credentials_for(host: str, name: str, environment: Mapping[str, str]) -> Credentials:
    """For a repository of a registry: the variables of user name and password, else the Docker configuration's entry.

    Raises InvalidInput where the configuration cannot be read.
    """
    if environment.get(ENV_REGISTRY_USERNAME):
        return Credentials(environment[ENV_REGISTRY_USERNAME], environment.get(ENV_REGISTRY_PASSWORD, ""))
    text = environment.get(ENV_REGISTRY_CONFIG)
    if not text:
        return NONE
    try:
        auths = json.loads(text).get("auths") or {}
        found = _entry(auths, host, name)
        return NONE if found is None else _read(found)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput(
            "InvalidCredentials",
            "the Docker configuration (.dockerconfigjson) with the registry's credentials cannot be read; allowed is a "
            "JSON object whose `auths` holds objects by registry",
        ) from error


def _entry(auths: Mapping[str, Any], host: str, name: str) -> Any:
    """The entry whose key, a registry and perhaps the beginning of a name, fits most closely."""
    hosts = _HUB if host in _HUB else (host,)
    wanted = [f"{one}/{name}/" for one in hosts]
    fitting = {key: value for key, value in auths.items() if any(full.startswith(f"{_bare(key)}/") for full in wanted)}
    return fitting[max(fitting, key=lambda key: len(_bare(key)))] if fitting else None


def _bare(key: str) -> str:
    """`https://index.docker.io/v1/` and the like without scheme and version."""
    return key.partition("://")[2 if "://" in key else 0].rstrip("/").removesuffix("/v1").removesuffix("/v2")


def _read(entry: Mapping[str, Any]) -> Credentials:
    for name, known in (("identitytoken", "identity_token"), ("registrytoken", "registry_token")):
        if entry.get(name):
            return Credentials(**{known: str(entry[name])})
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password", "")))
    username, colon, password = base64.b64decode(entry.get("auth") or "", validate=True).decode().partition(":")
    return Credentials(username, password) if colon else NONE
