"""How a Deployment's ReplicaSets are to stand: pure. Source: kubernetes/pkg/controller/deployment."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import datetime, timedelta

from selm_local.apiserver.kinds.apps import portion
from selm_local.controllers.objects import Obj, condition, format_time, meta, name_of, parse_time, reference_to

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)


def template_hash(template: Obj) -> str:
    """Ten characters that tell templates apart, without vowels."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


def bare_template(replica_set: Obj) -> Obj:
    """A ReplicaSet's template without the label that tells it apart."""
    template: Obj = copy.deepcopy(replica_set["spec"]["template"])
    labels = template["metadata"].get("labels") or {}
    labels.pop(HASH_LABEL, None)
    return template


def revision_of(obj: Obj) -> int:
    text = (meta(obj).get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def new_replica_set(deployment: Obj, revision: int) -> Obj:
    """The ReplicaSet of the Deployment's template as it is now, without replicas yet."""
    spec, template = deployment["spec"], copy.deepcopy(deployment["spec"]["template"])
    told = template_hash(spec["template"])
    template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), HASH_LABEL: told}
    selector = copy.deepcopy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: told}
    annotations = {k: v for k, v in (meta(deployment).get("annotations") or {}).items() if k not in _NOT_COPIED}
    made: Obj = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{told}",
            "labels": template["metadata"]["labels"],
            "annotations": {**annotations, REVISION: str(revision)},
            "ownerReferences": [reference_to(deployment)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return made


def sizes(deployment: Obj, new: Obj, old: list[Obj], old_pods_left: bool) -> dict[str, int]:
    """How many replicas each ReplicaSet shall have now, by name.

    Args:
        old_pods_left: pods of old ReplicaSets are still there, ending ones included (Recreate waits for them).
    """
    spec = deployment["spec"]
    wanted = int(spec["replicas"])
    result = {name_of(one): int(one["spec"]["replicas"]) for one in [new, *old]}
    if spec["strategy"]["type"] == "Recreate":
        result |= {name_of(one): 0 for one in old}
        if not old_pods_left and not any(one["spec"]["replicas"] for one in old):
            result[name_of(new)] = wanted
        return result
    rolling = spec["strategy"]["rollingUpdate"]
    surge = portion(rolling["maxSurge"], wanted, up=True)
    unavailable = portion(rolling["maxUnavailable"], wanted, up=False)
    if not surge and not unavailable:
        unavailable = 1  # both round to nothing: a rollout must be able to move
    mine = int(new["spec"]["replicas"])
    total = sum(result.values())
    if mine > wanted:
        result[name_of(new)] = wanted
    elif mine < wanted:
        result[name_of(new)] = mine + max(min(wanted + surge - total, wanted - mine), 0)
    least = wanted - min(unavailable, wanted)
    new_unavailable = max(mine - _available(new), 0)
    spare = total - least - new_unavailable
    # Replicas that are not healthy go first: they keep nothing up.
    for one in sorted(old, key=lambda one: meta(one)["creationTimestamp"]):
        sick = int(one["spec"]["replicas"]) - _available(one)
        taken = max(min(sick, spare), 0)
        result[name_of(one)] -= taken
        spare -= taken
    healthy = sum(_available(one) for one in [new, *old]) - least
    for one in sorted(old, key=lambda one: meta(one)["creationTimestamp"]):
        taken = max(min(result[name_of(one)], healthy, spare), 0)
        result[name_of(one)] -= taken
        healthy -= taken
        spare -= taken
    return result


def _available(replica_set: Obj) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)


def status_of(deployment: Obj, new: Obj | None, old: list[Obj], now: datetime) -> Obj:
    """The Deployment's whole status."""
    everything = [*([new] if new else []), *old]

    def total(name: str) -> int:
        return sum(int((one.get("status") or {}).get(name) or 0) for one in everything)

    wanted = int(deployment["spec"]["replicas"])
    replicas, available = total("replicas"), total("availableReplicas")
    counts = {
        "replicas": replicas,
        "updatedReplicas": int(((new or {}).get("status") or {}).get("replicas") or 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(sum(int(one["spec"]["replicas"]) for one in everything) - available, 0),
    }
    status = {name: value for name, value in counts.items() if value}
    status["observedGeneration"] = meta(deployment)["generation"]
    before = deployment.get("status") or {}
    if count := before.get("collisionCount"):
        status["collisionCount"] = count
    return {**status, "conditions": _conditions(deployment, new, counts, wanted, now)}


def _conditions(deployment: Obj, new: Obj | None, counts: dict[str, int], wanted: int, now: datetime) -> list[Obj]:
    spec = deployment["spec"]
    name = name_of(new) if new else ""
    unavailable = 0
    if spec["strategy"]["type"] == "RollingUpdate":
        unavailable = portion(spec["strategy"]["rollingUpdate"]["maxUnavailable"], wanted, up=False)
    enough = counts["availableReplicas"] >= wanted - unavailable
    found = [
        _condition(
            deployment, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now
        )
        if enough
        else _condition(
            deployment,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    ]
    done = counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == wanted
    old = condition(deployment, "Progressing")
    if spec.get("paused"):
        found.append(_condition(deployment, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now))
    elif done and new:
        text = f'ReplicaSet "{name}" has successfully progressed.'
        found.append(_condition(deployment, "Progressing", "True", "NewReplicaSetAvailable", text, now))
    elif new:
        moved = any(counts[key] != int((deployment.get("status") or {}).get(key) or 0) for key in counts)
        late = old is not None and not moved and old["reason"] in ("ReplicaSetUpdated", "ProgressDeadlineExceeded")
        limit = spec.get("progressDeadlineSeconds")
        if late and limit and parse_time(old["lastUpdateTime"]) + timedelta(seconds=limit) < now:  # type: ignore[index]
            text = f'ReplicaSet "{name}" has timed out progressing.'
            found.append(_condition(deployment, "Progressing", "False", "ProgressDeadlineExceeded", text, now))
        else:
            text = f'ReplicaSet "{name}" is progressing.'
            found.append(_condition(deployment, "Progressing", "True", "ReplicaSetUpdated", text, now, touch=moved))
    failing = condition(new, "ReplicaFailure") if new else None
    if failing is not None:
        found.append({**failing, "lastUpdateTime": failing["lastTransitionTime"]})
    return found


def _condition(
    deployment: Obj, kind: str, status: str, reason: str, message: str, now: datetime, *, touch: bool = False
) -> Obj:
    """A condition; its times are kept while it says the same (touch: it has been updated all the same)."""
    old, moment = condition(deployment, kind), format_time(now)
    made = {"type": kind, "status": status, "reason": reason, "message": message}
    same = old is not None and all(old.get(key) == value for key, value in made.items())
    updated = old["lastUpdateTime"] if old is not None and same and not touch else moment
    turned = old["lastTransitionTime"] if old is not None and old["status"] == status else moment
    return {**made, "lastUpdateTime": updated, "lastTransitionTime": turned}
