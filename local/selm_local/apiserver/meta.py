"""`metadata`: what the server sets, keeps and refuses, the same for every kind. Pure functions."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from typing import Any

from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

# The alphabet of generated names: no vowels, so no words (k8s.io/apimachinery/pkg/util/rand).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED = 5
_GENERATE_ROOM = 63 - _GENERATED
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
SYSTEM_FIELDS = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)


def now_text(now: dt.datetime) -> str:
    """RFC 3339 with seconds, UTC, as metav1.Time prints."""
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(obj: Object) -> dict[str, Any]:
    """The object's metadata, made if it is missing."""
    found = obj.get("metadata")
    if not isinstance(found, dict):
        found = obj["metadata"] = {}
    return found


def tidy(meta: dict[str, Any]) -> None:
    """Drop what an ObjectMeta does not keep: nulls and empty values."""
    for key in [k for k, v in meta.items() if v is None or v == "" or v == {} or v == []]:
        del meta[key]


def generated_name(base: str) -> str:
    """`base` (shortened where needed) and five random characters."""
    return base[:_GENERATE_ROOM] + "".join(secrets.choice(_ALPHABET) for _ in range(_GENERATED))


def fill_for_create(obj: Object, namespace: str | None, now: dt.datetime) -> None:
    """uid, creationTimestamp, generated name; whatever the client sent for system fields goes."""
    meta = metadata(obj)
    for name in (*SYSTEM_FIELDS, "resourceVersion"):
        meta.pop(name, None)
    if namespace:
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    if meta.get("generateName") and not meta.get("name"):
        meta["name"] = generated_name(meta["generateName"])
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now_text(now)


def keep_from_old(obj: Object, old: Object) -> None:
    """System fields that the client left out are the old ones; generation and deletion are never the client's."""
    meta, before = metadata(obj), old["metadata"]
    for name in ("uid", "creationTimestamp"):
        if not meta.get(name) and name in before:
            meta[name] = before[name]
    for name in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        if name in before:
            meta[name] = before[name]
        else:
            meta.pop(name, None)
    if "namespace" in before:
        meta["namespace"] = before["namespace"]
    meta["name"] = before["name"]
    if "generateName" in before:
        meta.setdefault("generateName", before["generateName"])


def finalizer_problems(meta: dict[str, Any], before: dict[str, Any]) -> list[FieldError]:
    """An object that is being deleted takes no new finalizers."""
    if not before.get("deletionTimestamp"):
        return []
    added = sorted(set(meta.get("finalizers") or []) - set(before.get("finalizers") or []))
    if not added:
        return []
    listed = ", ".join(f'"{name}"' for name in added)
    text = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [field.forbidden("metadata.finalizers", text)]


def being_deleted(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def may_go(obj: Object) -> bool:
    """Nothing holds a deleted object any more: no finalizer, no grace."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    return not meta.get("deletionGracePeriodSeconds")
