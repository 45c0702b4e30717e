"""Reading and writing objects over HTTP: each handler turns a request into one call of the registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from selm_local.apiserver import errors
from selm_local.apiserver.access import User
from selm_local.apiserver.kinds.base import Strategy
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.requests import PatchType, WriteRequest, Written
from selm_local.apiserver.resources import Resource
from selm_local.apiserver.storage import Object, encode
from selm_local.apiserver.web import body, options, shapes
from selm_local.apiserver.web.negotiate import Wanted
from selm_local.apiserver.web.paging import page, too_large
from selm_local.apiserver.web.respond import answer, answer_object
from selm_local.apiserver.web.route import Target

PATCH_TYPES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_BODY_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
Handler = Callable[["Call"], Awaitable[web.StreamResponse]]


class Call:
    """One request to one resource, authorized already. user: the caller."""

    def __init__(
        self, request: web.Request, registry: Registry, resource: Resource, target: Target, wanted: Wanted, user: User
    ):
        self.request = request
        self.registry = registry
        self.resource = resource
        self.target = target
        self.wanted = wanted
        self.user = user
        self.query = request.query

    @property
    def strategy(self) -> Strategy:
        return self.registry.strategy(self.resource)

    @property
    def name(self) -> str:
        return self.target.name or ""

    @property
    def media_type(self) -> str:
        """The body's; JSON where the client said none."""
        return self.request.content_type if "Content-Type" in self.request.headers else "application/json"

    @property
    def applies(self) -> bool:
        """Whether it is a server-side apply."""
        return PATCH_TYPES.get(self.media_type) == "apply"

    @property
    def exists(self) -> bool:
        """Whether the object that it names is there."""
        return self.registry.storage.get(self.resource.storage, self.target.namespace or "", self.name) is not None

    def write_request(self, kind: str, *, apply: bool = False) -> WriteRequest:
        return options.write_request(
            self.query, self.request.headers.get("User-Agent", ""), self.user, kind, apply=apply
        )

    async def read(self, request: WriteRequest) -> Any:
        """The body as a value; what stands twice in it goes into the request."""
        if self.media_type not in _BODY_TYPES:
            raise errors.unsupported_media_type(_BODY_TYPES)
        found = request.field_validation != "Ignore"
        value, request.duplicates = body.parse(await self.request.read(), self.media_type, find_duplicates=found)
        return value

    async def read_object(self, request: WriteRequest) -> Object:
        """A body that must be an object of this resource's kind (subresources take others)."""
        value = await self.read(request)
        if not isinstance(value, dict):
            raise errors.bad_request(
                f"the object provided is unrecognized (must be of type {self.resource.kind}): "
                f"found a JSON {type(value).__name__}"
            )
        return value


async def get(call: Call) -> web.StreamResponse:
    asked, current = options.version_number(call.query), call.registry.storage.version
    if asked is not None and asked > current:
        raise too_large(asked, current)
    stored = call.registry.stored(call.resource, call.target.namespace, call.name)
    return _shaped(call, shapes.object_of(call.strategy, stored), shapes.raw_of(call.strategy, stored))


def _shaped(
    call: Call, obj: Object, raw: bytes | None, status: int = 200, warnings: list[str] | None = None
) -> web.Response:
    wanted = call.wanted
    if wanted.as_kind == "Table" and obj.get("kind") != "Status":
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        include = call.query.get("includeObject", "Metadata")
        table = shapes.table(call.strategy, [obj], meta, include, wanted.version)
        return answer_object(table, wanted, status, warnings or ())
    if wanted.as_kind == "PartialObjectMetadata" and obj.get("kind") != "Status":
        return answer_object(shapes.metadata_only(obj), wanted, status, warnings or ())
    return answer(raw if raw is not None else encode(obj), wanted, status, warnings or ())


async def list_objects(call: Call) -> web.StreamResponse:
    query, wanted = call.query, call.wanted
    asked, match = options.version_number(query), query.get("resourceVersionMatch", "")
    if match not in ("", "Exact", "NotOlderThan"):
        raise options.list_problem("resourceVersionMatch", f"unknown value {match!r}; known: Exact, NotOlderThan")
    if match and asked is None:
        raise options.list_problem(
            "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match == "Exact" and asked == 0:
        raise options.list_problem(
            "resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        )
    if "sendInitialEvents" in query:
        raise options.list_problem("sendInitialEvents", "sendInitialEvents is forbidden for list")
    token, limit = query.get("continue", ""), options.whole_number(query, "limit") or 0
    if token and asked:
        raise errors.bad_request("specifying resource version is not allowed when using continue")
    selected = _filter(call)
    exact = asked if match == "Exact" else None
    if asked and asked > call.registry.storage.version:
        exact = asked
    found = page(call.registry.storage, selected, limit, token, exact)
    if wanted.as_kind == "Table":
        include = query.get("includeObject", "Metadata")
        return answer_object(shapes.page_table(call.strategy, found, include, wanted.version), wanted)
    if wanted.as_kind == "PartialObjectMetadataList":
        return answer_object(shapes.metadata_list(call.strategy, found), wanted)
    return answer(shapes.list_bytes(call.strategy, found), wanted)


def _filter(call: Call) -> Any:
    return call.registry.filter(
        call.resource, call.target.namespace, call.query.get("labelSelector"), call.query.get("fieldSelector")
    )


async def create(call: Call) -> web.StreamResponse:
    request = call.write_request("CreateOptions")
    obj = await call.read_object(request)
    written = call.registry.writes.create(call.resource, call.target.namespace, obj, request)
    return _written(call, written, request)


async def update(call: Call) -> web.StreamResponse:
    request = call.write_request("UpdateOptions")
    obj = await call.read_object(request)
    written = call.registry.writes.update(
        call.resource, call.target.namespace, call.name, obj, request, call.target.subresource
    )
    return _written(call, written, request)


async def patch(call: Call) -> web.StreamResponse:
    patch_type = PATCH_TYPES.get(call.media_type)
    allowed = [t for t, kind in PATCH_TYPES.items() if kind != "strategic" or call.strategy.strategic_patch]
    if patch_type is None:
        raise errors.unsupported_media_type(allowed)
    request = call.write_request("PatchOptions", apply=patch_type == "apply")
    found = request.field_validation != "Ignore"
    change, request.duplicates = body.parse(await call.request.read(), call.media_type, find_duplicates=found)
    written = call.registry.writes.patch(
        call.resource, call.target.namespace, call.name, change, patch_type, request, call.target.subresource
    )
    return _written(call, written, request)


def _written(call: Call, written: Written, request: WriteRequest) -> web.Response:
    status = 201 if written.created else 200
    return _shaped(call, written.object, written.raw, status, request.warnings)


async def _delete_options(call: Call) -> Any:
    data = await call.request.read()
    if not data:
        return options.delete_request(call.query, None)
    if call.media_type not in _BODY_TYPES:
        raise errors.unsupported_media_type(_BODY_TYPES)
    value, _ = body.parse(data, call.media_type, find_duplicates=False)
    return options.delete_request(call.query, value)


async def delete(call: Call) -> web.StreamResponse:
    request = await _delete_options(call)
    written = call.registry.deletes.delete(call.resource, call.target.namespace, call.name, request)
    return _shaped(call, written.object, written.raw, 200, request.warnings)


async def delete_collection(call: Call) -> web.StreamResponse:
    request = await _delete_options(call)
    found = page(call.registry.storage, _filter(call), 0, "", None)
    raw = shapes.list_bytes(call.strategy, found)
    for stored in found.items:
        try:
            call.registry.deletes.delete(call.resource, stored.namespace or None, stored.name, request)
        except errors.ApiError as e:
            if e.code != 404:
                raise
    return answer(raw, call.wanted, 200, dict.fromkeys(request.warnings))
