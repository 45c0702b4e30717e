"""metadata.managedFields: who owns which fields.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from selm_local.apiserver.patch.fieldset import FieldSet
from selm_local.apiserver.schema.jsonvalue import Json

Operation = Literal["Apply", "Update"]
MAX_UPDATE_MANAGERS: Final = 10
"""How many entries of updates are kept; beyond that the oldest become one of ANCIENT."""
ANCIENT: Final = "ancient-changes"
BEFORE_FIRST_APPLY: Final = "before-first-apply"


@dataclass(frozen=True)
class FieldRequest:
    """Who writes, how and when. `time`: RFC 3339 with seconds. `subresource`: '' or e.g. `status`.

    `reset`: the top-level fields that this endpoint does not write, e.g. {"status"} where status is a subresource of
    the kind and {"spec"} on that subresource; they are owned by nobody through it.
    """

    manager: str
    operation: Operation
    api_version: str
    time: str
    subresource: str = ""
    reset: frozenset[str] = frozenset()

    def key(self) -> tuple[str, str, str, str]:
        return self.manager, self.operation, self.api_version, self.subresource


def reset_fields(subresource: str, *, status_subresource: bool) -> frozenset[str]:
    """What an endpoint does not write: the main one status (where that is a subresource), the status one spec."""
    if subresource == "status":
        return frozenset(["spec"])
    return frozenset(["status"]) if status_subresource and not subresource else frozenset()


Key = tuple[str, str, str, str]
"""(manager, operation, apiVersion, subresource): what tells entries apart."""


@dataclass(frozen=True)
class Owned:
    """The fields of one entry, and when it last took any."""

    fields: FieldSet
    time: str


Managers = dict[Key, Owned]


def describe(key: Key, time: str) -> str:
    """A manager as conflicts name it: `"alice"`, `"kubectl" with subresource "status" using v1 at <time>`."""
    manager, operation, api_version, subresource = key
    text = f'"{manager}"' + (f' with subresource "{subresource}"' if subresource else "")
    if operation == "Update":
        text += f" using {api_version}" + (f" at {time}" if time else "")
    return text


def decode(metadata: Json) -> Managers:
    """The managers in an object's metadata. Entries that cannot be read are dropped, as the real server does."""
    found: Managers = {}
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    for entry in entries or []:
        try:
            key = (entry["manager"], entry["operation"], entry["apiVersion"], entry.get("subresource") or "")
            fields = FieldSet.parse(entry.get("fieldsV1") or {})
        except (KeyError, TypeError, AttributeError):
            return {}
        found[key] = Owned(fields, entry.get("time") or "")
    return found


def encode(managers: Managers) -> list[dict[str, Any]]:
    """The entries of metadata.managedFields: applies first, then by time, as the real server orders them."""
    entries = []
    for key in sorted(managers, key=lambda key: (key[1] != "Apply", managers[key].time, key)):
        manager, operation, api_version, subresource = key
        entry = {
            "manager": manager,
            "operation": operation,
            "apiVersion": api_version,
            "time": managers[key].time,
            "fieldsType": "FieldsV1",
            "fieldsV1": managers[key].fields.fields_v1(),
        }
        if not entry["time"]:
            del entry["time"]
        if subresource:
            entry["subresource"] = subresource
        entries.append(entry)
    return entries


def capped(managers: Managers) -> Managers:
    """With at most MAX_UPDATE_MANAGERS entries of updates."""
    updates = sorted((key for key in managers if key[1] == "Update"), key=lambda key: (managers[key].time, key))
    surplus = len(updates) - MAX_UPDATE_MANAGERS
    if surplus <= 0:
        return managers
    result = dict(managers)
    for key in _oldest(updates, surplus):
        owned = result.pop(key)
        bucket: Key = (ANCIENT, "Update", key[2], "")
        before = result.get(bucket)
        fields = owned.fields if before is None else owned.fields | before.fields
        result[bucket] = Owned(fields, max(owned.time, before.time if before is not None else ""))
    return result


def _oldest(updates: list[Key], surplus: int) -> Iterable[Key]:
    """One more than the surplus, since the entry of ancient changes counts too."""
    has_bucket = any(key[0] == ANCIENT for key in updates)
    candidates = [key for key in updates if key[0] != ANCIENT]
    return candidates[: surplus if has_bucket else surplus + 1]
