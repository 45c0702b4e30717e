"""Events of events.k8s.io/v1 about runs. Posted after the status write that they announce, so that they never lie."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import Any

import aiohttp

from selm_operator.constants import API_VERSION, KIND, REPORTING_CONTROLLER
from selm_operator.decision import Announcement
from selm_operator.kube import EVENTS, Api, ApiError

log = logging.getLogger(__name__)

NOTE_LIMIT = 1024  # bytes, of the API


class EventRecorder:
    """Posts announcements. An event that cannot be posted is logged and forgotten: it is news, no state."""

    def __init__(self, api: Api, instance: str) -> None:
        self.api, self.instance = api, instance[:128]

    async def announce(self, run: dict[str, Any], announcements: tuple[Announcement, ...]) -> None:
        """Posts each announcement about `run`, the object as read from the API server."""
        for announcement in announcements:
            event = event_of(run, announcement, self.instance, datetime.now(UTC))
            try:
                await self.api.create(EVENTS, run["metadata"]["namespace"], event)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.code == 409:
                    continue  # the same transition was announced before, by this process or its predecessor
                log.warning("event %s of %s not posted: %r", announcement.reason, run["metadata"]["name"], error)


def event_of(run: dict[str, Any], announcement: Announcement, instance: str, now: datetime) -> dict[str, Any]:
    """The Event object; its name is made of run, generation, reason and key, so that a repetition is a conflict."""
    metadata = run["metadata"]
    identity = "\0".join(
        (metadata["uid"], str(metadata.get("generation", 0)), announcement.reason, announcement.key, announcement.note)
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": instance,
        "action": "Reconcile",
        "type": announcement.type,
        "reason": announcement.reason,
        "note": announcement.note.encode()[:NOTE_LIMIT].decode(errors="ignore"),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
    }
