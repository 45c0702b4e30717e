"""References to Secrets and ConfigMaps in the run's namespace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selm_operator.api.base import SECRET_KEY_PATTERN, AbsentMeans, SpecModel, Subdomain, Text

SecretKey = Annotated[Text, Field(max_length=253, pattern=SECRET_KEY_PATTERN)]

_SECRET_NAME = "the name of a Secret in the run's namespace."


class SecretRef(SpecModel):
    """A Secret in the run's namespace."""

    name: Annotated[Subdomain, Field(description=_SECRET_NAME)]


class ConfigMapRef(SpecModel):
    """A ConfigMap in the run's namespace."""

    name: Annotated[Subdomain, Field(description="the name of a ConfigMap in the run's namespace.")]


class TokenSecretRef(SpecModel):
    """A key of a Secret in the run's namespace."""

    name: Annotated[Subdomain, Field(description=_SECRET_NAME)]
    key: Annotated[SecretKey, Field(description="the key in that Secret.")] = "token"


class ApiKeySecretRef(SpecModel):
    """A key of a Secret, within an item of a list, where defaults are not stored."""

    name: Annotated[Subdomain, Field(description=_SECRET_NAME)]
    key: Annotated[SecretKey | None, Field(description="the key in that Secret."), AbsentMeans("token")] = None
