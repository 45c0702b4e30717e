"""What the operator is told by its environment. Read once at the start; wrong values end the process with their name."""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from selm_runtime.contract import ENV_TIME_SCALE

QUANTITY = re.compile(r"^(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]+))?$")


class SettingsError(ValueError):
    """A variable of the environment that cannot be used: its name, what was found, what is allowed."""


@dataclass(frozen=True)
class Waits:
    """Every wait of the operator, in seconds. Tests scale them all by one factor."""

    backoff_first: float = 10.0
    """Before the second attempt after a failure; doubled by each further one."""
    backoff_max: float = 600.0
    deletion_margin: float = 60.0
    """Beyond a pod's grace, until a Job being deleted, or a `FailureTarget`, no longer counts as active."""
    pending_grace: float = 15.0
    """So long a Job's pods may start without a word about it."""
    poll_pending: float = 15.0
    """Between looks at pods that do not run yet: their state makes no Job event."""
    poll_old_job: float = 5.0
    """Between looks at a Job that is in the way."""
    refused: float = 30.0
    """Until a Job that the API server refused is tried again."""
    pending_too_long: float = 1800.0
    """From here on a warning is announced about pods that do not start."""
    no_progress: float = 86_400.0
    """From here on a warning is announced about an attempt that runs and shows no progress."""
    resync: float = 60.0
    """Between two looks at a run that nothing woke."""
    error_first: float = 0.5
    error_max: float = 60.0
    lease_duration: float = 15.0
    lease_renew_deadline: float = 10.0
    lease_retry: float = 2.0
    audit: float = 300.0
    """Between two comparisons of the runs that exist with those that the watch told of."""
    stuck: float = 600.0
    """From here on a look at work, or a watch that says nothing, counts as hung, and liveness fails."""
    watch_server: float = 300.0
    request: float = 30.0

    def scaled(self, factor: float) -> Waits:
        """All waits times `factor`, but time-outs of single requests and the server's side of a watch.

        The Lease's times do not fall below a fifth: a renewal must not be lost to a busy machine.
        """
        fixed = {"watch_server", "request", "stuck"}
        names = [name for name in self.__dataclass_fields__ if name not in fixed]
        of_lease = max(factor, 0.2)
        return replace(self, **{n: getattr(self, n) * (of_lease if n.startswith("lease_") else factor) for n in names})


@dataclass(frozen=True)
class Settings:
    """The operator's settings.

    SELM_RUNTIME_IMAGE          image of the phases where `spec.image` is absent; "" or unset: none
    SELM_SHARED_PATHS           "true": every node sees the same paths, so `file://` needs no volumes (one machine)
    SELM_PREPARATION_RESOURCES  JSON, `resources` of Preparation's container
    SELM_TIME_SCALE             factor of every wait, the pods' own included, > 0; for tests
    SELM_PENDING_TOO_LONG_SECONDS  seconds after which pods that do not start are warned of; default 1800
    SELM_NO_PROGRESS_SECONDS    seconds after which an attempt without a sign of progress is warned of; default 86400
    SELM_NAMESPACES             comma separated namespaces that are watched; unset: all
    SELM_NAMESPACE              the operator's own, where its Lease is; default: the service account's, else "default"
    SELM_WORKERS                runs that are reconciled at one time, ≥ 1
    SELM_HTTP_PORT              port of /metrics, /healthz and /readyz; default 8080; 0: none
    SELM_LOG_FORMAT             "text" or "json"
    SELM_FS_GROUP               fsGroup of the runs' pods, so that they can write to claims; default 10001; 0: none
    """

    runtime_image: str | None = None
    shared_paths: bool = False
    preparation_resources: Mapping[str, Any] = field(
        default_factory=lambda: {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "16Gi"}}
    )
    waits: Waits = Waits()
    time_scale: float = 1.0
    namespaces: tuple[str, ...] = ()
    namespace: str = "default"
    workers: int = 16
    http_port: int = 8080
    fs_group: int = 10001
    log_format: str = "text"
    identity: str = ""


SERVICE_ACCOUNT_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process.

    Raises SettingsError naming the variable, what was found and what is allowed.
    """
    time_scale = _number(env, ENV_TIME_SCALE, 1.0, exclusive_minimum=0.0)
    return Settings(
        runtime_image=env.get("SELM_RUNTIME_IMAGE") or None,
        shared_paths=_boolean(env, "SELM_SHARED_PATHS"),
        preparation_resources=_resources(env, "SELM_PREPARATION_RESOURCES") or Settings().preparation_resources,
        waits=Waits(
            pending_too_long=_number(
                env, "SELM_PENDING_TOO_LONG_SECONDS", Waits.pending_too_long, exclusive_minimum=0.0
            ),
            no_progress=_number(env, "SELM_NO_PROGRESS_SECONDS", Waits.no_progress, exclusive_minimum=0.0),
        ).scaled(time_scale),
        time_scale=time_scale,
        namespaces=tuple(n for n in (p.strip() for p in env.get("SELM_NAMESPACES", "").split(",")) if n),
        namespace=env.get("SELM_NAMESPACE") or _own_namespace(),
        workers=_integer(env, "SELM_WORKERS", 16, minimum=1),
        http_port=_integer(env, "SELM_HTTP_PORT", Settings.http_port, minimum=0, maximum=65535),
        fs_group=_integer(env, "SELM_FS_GROUP", Settings.fs_group, minimum=0),
        log_format=_choice(env, "SELM_LOG_FORMAT", ("text", "json")),
        identity=f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}",
    )


def _own_namespace() -> str:
    if os.path.exists(SERVICE_ACCOUNT_NAMESPACE):
        with open(SERVICE_ACCOUNT_NAMESPACE, encoding="utf-8") as file:
            return file.read().strip()
    return "default"


def _boolean(env: Mapping[str, str], name: str) -> bool:
    found = env.get(name, "").lower()
    if found not in ("", "true", "false"):
        raise SettingsError(f"{name} is {env[name]!r}; allowed are true and false")
    return found == "true"


def _choice(env: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    found = env.get(name) or allowed[0]
    if found not in allowed:
        raise SettingsError(f"{name} is {found!r}; allowed are {', '.join(allowed)}")
    return found


def _number(env: Mapping[str, str], name: str, default: float, *, exclusive_minimum: float) -> float:
    found = env.get(name)
    if not found:
        return default
    try:
        value = float(found)
    except ValueError:
        raise SettingsError(f"{name} is {found!r}; allowed is a number greater than {exclusive_minimum}") from None
    if not exclusive_minimum < value < float("inf"):
        raise SettingsError(f"{name} is {found!r}; allowed is a number greater than {exclusive_minimum}")
    return value


def _integer(env: Mapping[str, str], name: str, default: int, *, minimum: int, maximum: int | None = None) -> int:
    found = env.get(name)
    if not found:
        return default
    if not found.isdecimal() or int(found) < minimum or (maximum is not None and int(found) > maximum):
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise SettingsError(f"{name} is {found!r}; allowed is an integer {bounds}")
    return int(found)


def _resources(env: Mapping[str, str], name: str) -> Mapping[str, Any] | None:
    found = env.get(name)
    if not found:
        return None
    allowed = 'a JSON object such as {"requests": {"cpu": "1"}, "limits": {"memory": "16Gi"}}'
    try:
        value = json.loads(found)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{name} is no JSON ({error}); allowed is {allowed}") from None
    groups_are_known = isinstance(value, dict) and set(value) <= {"requests", "limits"}
    if not groups_are_known or not all(isinstance(group, dict) for group in value.values()):
        raise SettingsError(f"{name} is {found!r}; allowed is {allowed}")
    for group, quantities in value.items():
        for resource, quantity in quantities.items():
            if not QUANTITY.match(str(quantity)):
                raise SettingsError(
                    f"{name}: {group}.{resource} is {quantity!r}; allowed is a quantity such as 500m or 2Gi"
                )
    return dict(value)
