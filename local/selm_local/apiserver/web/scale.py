"""The scale subresource (autoscaling/v1 Scale) of Deployments and ReplicaSets."""

from __future__ import annotations

from aiohttp import web

from selm_local.apiserver import errors
from selm_local.apiserver.patching import patched
from selm_local.apiserver.schema.errors import invalid
from selm_local.apiserver.selectors import text_of
from selm_local.apiserver.storage import Object
from selm_local.apiserver.web import body
from selm_local.apiserver.web.objects import PATCH_TYPES, Call
from selm_local.apiserver.web.respond import answer_object


def scale_of(obj: Object) -> Object:
    """The Scale that an object with replicas and a selector shows."""
    meta = obj["metadata"]
    kept = {name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    replicas = obj["spec"].get("replicas", 0)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": kept,
        "spec": {"replicas": replicas} if replicas else {},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": text_of(obj["spec"].get("selector")),
        },
    }


async def scale(call: Call) -> web.StreamResponse:
    """GET, PUT and PATCH (merge or JSON). Raises ApiError 409 where the Scale's resourceVersion is not the current."""
    namespace, name = call.target.namespace, call.name
    live = call.registry.stored(call.resource, namespace, name).copy()
    if call.target.verb == "get":
        return answer_object(scale_of(live), call.wanted)
    request = call.write_request("UpdateOptions" if call.target.verb == "update" else "PatchOptions")
    if call.target.verb == "update":
        new = await call.read_object(request)
    else:
        kind = PATCH_TYPES.get(call.media_type)
        if kind not in ("json", "merge"):
            raise errors.unsupported_media_type([t for t, k in PATCH_TYPES.items() if k in ("json", "merge")])
        change, _ = body.parse(await call.request.read(), call.media_type, find_duplicates=False)
        new = patched(scale_of(live), change, kind, call.resource)
    replicas = (new.get("spec") or {}).get("replicas") or 0
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise errors.bad_request(f"spec.replicas: Invalid value: {replicas!r}: must be a whole number")
    if replicas < 0:
        problem = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("autoscaling", "Scale", name, [problem])
    sent = new.get("metadata") or {}
    live["spec"]["replicas"] = replicas
    live["metadata"]["resourceVersion"] = sent.get("resourceVersion") or live["metadata"]["resourceVersion"]
    live["metadata"]["uid"] = sent.get("uid") or live["metadata"]["uid"]
    written = call.registry.writes.update(call.resource, namespace, name, live, request)
    return answer_object(scale_of(written.object), call.wanted)
