"""The ServiceAccount token of a pod: what every container gets of it, and its renewal.

On a real cluster admission writes the volume into the pod; here the node adds it, so that pods read as they were sent.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from selm_local.controllers.objects import Obj, name_of, uid_of
from selm_local.node.context import ApiAccess
from selm_local.node.sources import containers_of

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME = "kube-api-access"
ROOT_CA = "kube-root-ca.crt"
DEFAULT_SECONDS = 3607
RENEW_AFTER = 0.8
"""Of a token's life; the kubelet's own rule."""


def wants_token(pod: Obj, account: Obj) -> bool:
    """The pod's word counts, then its account's; neither: yes."""
    for holder in (pod["spec"], account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def with_token_volume(pod: Obj) -> Obj:
    """The pod with the volume of its token in every container that has nothing at that path."""
    result = copy.deepcopy(pod)
    sources = [
        {"serviceAccountToken": {"expirationSeconds": DEFAULT_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    result["spec"].setdefault("volumes", []).append({"name": VOLUME, "projected": {"sources": sources}})
    for container in containers_of(result):
        mounts = container.setdefault("volumeMounts", [])
        if all(one["mountPath"].rstrip("/") != MOUNT_PATH for one in mounts):
            mounts.append({"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": True})
    return result


def token_sources(pod: Obj) -> list[tuple[str, Obj]]:
    """(volume, serviceAccountToken source) of every token that the pod's volumes hold."""
    return [
        (volume["name"], part["serviceAccountToken"])
        for volume in pod["spec"].get("volumes") or []
        for part in (volume.get("projected") or {}).get("sources") or []
        if "serviceAccountToken" in part
    ]


@dataclass
class PodTokens:
    """Mints one pod's tokens and says when they are to be renewed."""

    api: ApiAccess
    pod: Obj
    account: Obj
    renew_at: datetime | None = field(default=None)

    def mint(self, source: Obj, now: datetime) -> str:
        seconds = int(source.get("expirationSeconds") or DEFAULT_SECONDS)
        audiences = [source["audience"]] if source.get("audience") else []
        bound = {"kind": "Pod", "name": name_of(self.pod), "uid": uid_of(self.pod)}
        token, ends = self.api.mint(self.account, seconds, audiences, bound)
        renewal = now + RENEW_AFTER * (ends - now)
        self.renew_at = renewal if self.renew_at is None else min(self.renew_at, renewal)
        return token

    def renew(self, folder: Path, now: datetime) -> timedelta | None:
        """Write new tokens into the volumes below `folder` where it is time; until the next renewal."""
        if self.renew_at is None:
            return None
        if now >= self.renew_at:
            self.renew_at = None
            for volume, source in token_sources(self.pod):
                path = folder / volume / source["path"]
                if not path.exists():
                    continue
                new = path.with_name(f".{path.name}.new")
                new.write_text(self.mint(source, now))
                os.chmod(new, path.stat().st_mode & 0o777)
                new.replace(path)
        return None if self.renew_at is None else self.renew_at - now
