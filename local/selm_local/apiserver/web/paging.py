"""Lists in pages: a continue token names the version of the first page and where to go on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from selm_local.apiserver.errors import ApiError, bad_request, gone
from selm_local.apiserver.storage import Compacted, Storage, Stored
from selm_local.apiserver.watch import Filter


@dataclass(frozen=True)
class Page:
    """remaining: how many items follow; None where selectors make it unknown, as in the real API."""

    items: list[Stored]
    version: int
    token: str = ""
    remaining: int | None = None


def token_of(version: int, last: Stored) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{last.namespace}/{last.name}"})
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = found["start"].partition("/")
        return int(found["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError) as e:
        raise bad_request(f"invalid continue token: continue key is not valid: {e}") from None


def page(storage: Storage, selected: Filter, limit: int, token: str, exact: int | None) -> Page:
    """One page of what matches, of at most `limit` items (0: all). exact: list the state of that very version.

    Raises ApiError 410 when the version of the token is compacted, 504 for a version that is not reached yet.
    """
    version, after = (exact or storage.version), ("", "")
    if token:
        version, after = _read_token(token)
    if version > storage.version:
        raise too_large(version, storage.version)
    unknown = bool(selected.labels) or selected.fields is not None
    if version != storage.version:
        try:
            past = storage.list_at(selected.storage, selected.namespace, version)
        except Compacted:
            raise gone("The provided continue parameter is too old to display a consistent list result.") from None
        found: Iterator[Stored] = (s for s in past if (s.namespace, s.name) > after and selected.matches(s))
    else:
        found = selected.find(storage, after)
    if not limit:
        return Page(list(found), version)
    items = list(islice(found, limit))
    more = next(found, None)
    if more is None:
        return Page(items, version)
    if unknown:
        remaining = None
    elif version == storage.version:
        remaining = storage.table(selected.storage).count(selected.namespace, (items[-1].namespace, items[-1].name))
    else:
        remaining = 1 + sum(1 for _ in found)
    return Page(items, version, token_of(version, items[-1]), remaining)


def too_large(version: int, current: int) -> ApiError:
    message = f"Too large resource version: {version}, current: {current}"
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return ApiError(504, "Timeout", f"Timeout: {message}", details)
