"""How a write is asked for, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from selm_local.apiserver.access import User
from selm_local.apiserver.storage import Object

FieldValidation = Literal["Ignore", "Warn", "Strict"]
PatchType = Literal["json", "merge", "strategic", "apply"]
Propagation = Literal["Background", "Foreground", "Orphan"]
CONTROLLER = "selm-local"


@dataclass
class WriteRequest:
    """manager: the field manager. duplicates: paths of keys that stood twice in the body. force: apply takes over
    what other managers own. warnings: filled by the registry, sent as Warning headers. user: who asks; None is the cluster itself."""

    manager: str = CONTROLLER
    dry_run: bool = False
    field_validation: FieldValidation = "Warn"
    force: bool = False
    duplicates: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    user: User | None = None


@dataclass
class DeleteRequest:
    """propagation None: the kind's default. grace_seconds None: the object's own. uid, resource_version: refuse with
    409 unless the object has them."""

    propagation: str | None = None
    grace_seconds: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """object: in the version asked for; shared, not to be changed. raw: its JSON, where that lies ready."""

    object: Object
    created: bool = False
    raw: bytes | None = None
