"""A folder with a model and its card to wherever a URI leads: the phase's way and the command line's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from selm_runtime.contract import ArtifactsConfig, PushConfig
from selm_runtime.push.card import CardFacts
from selm_runtime.push.oci import push_to_registry
from selm_runtime.push.place import OCI
from selm_runtime.push.targets import HUB, Pushed, push_to_hub, push_to_store


def push_folder(
    folder: Path,
    target: PushConfig,
    facts: CardFacts,
    *,
    field: str,
    artifacts: ArtifactsConfig,
    environment: Mapping[str, str],
) -> Pushed:
    """Push to the hub, a registry or a store. Doing it again changes nothing.

    `field` names the URI in errors, a store is that of `artifacts`, `environment` holds a registry's credentials.
    Raises InvalidInput where the target refuses, TemporaryFailure while it is away.
    """
    if target.uri.startswith(HUB):
        message = f"{facts.run.namespace}/{facts.run.name}, iteration {facts.iteration}"
        return push_to_hub(
            folder, target.uri, field=field, private=target.private, revision=target.revision, message=message
        )
    if target.uri.startswith(OCI):
        return push_to_registry(
            folder, target.uri, facts, field=field, plain_http=target.plain_http, environment=environment
        )
    return push_to_store(folder, target.uri, field=field, endpoint=artifacts.endpoint, region=artifacts.region)
