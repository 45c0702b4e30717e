"""The server: one handler for every path, TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import ssl

from aiohttp import web

from selm_local.apiserver import errors
from selm_local.apiserver.access import Access, Attributes, User
from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.escalation import Guard
from selm_local.apiserver.logs import PodLogs
from selm_local.apiserver.registry import Registry
from selm_local.apiserver.resources import PODS, REVIEWS, SERVICE_ACCOUNTS, Resource
from selm_local.apiserver.web import discovery, objects, podlogs, reviews, route, scale
from selm_local.apiserver.web.body import MAX_BODY
from selm_local.apiserver.web.negotiate import Wanted, wanted
from selm_local.apiserver.web.objects import Call, Handler
from selm_local.apiserver.web.openapi import OpenApi
from selm_local.apiserver.web.respond import answer_object, no_such_page, refusal
from selm_local.apiserver.web.watching import watch

_log = logging.getLogger(__name__)
_HEALTH = ("healthz", "livez", "readyz")
_HANDLERS: dict[str, Handler] = {
    "get": objects.get,
    "list": objects.list_objects,
    "watch": watch,
    "create": objects.create,
    "update": objects.update,
    "patch": objects.patch,
    "delete": objects.delete,
    "deletecollection": objects.delete_collection,
}
# What a real cluster serves and this one does not: it is said, so that nobody looks for a mistake of his own.
_UNBUILT_GROUPS = frozenset(
    {
        "admissionregistration.k8s.io",
        "apiregistration.k8s.io",
        "autoscaling",
        "certificates.k8s.io",
        "discovery.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "metrics.k8s.io",
        "node.k8s.io",
        "resource.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)
_UNBUILT = frozenset(
    {
        ("", "bindings"),
        ("", "componentstatuses"),
        ("", "endpoints"),
        ("", "limitranges"),
        ("", "persistentvolumes"),
        ("", "podtemplates"),
        ("", "replicationcontrollers"),
        ("apps", "controllerrevisions"),
        ("apps", "daemonsets"),
        ("apps", "statefulsets"),
        ("batch", "cronjobs"),
        ("coordination.k8s.io", "leasecandidates"),
        ("networking.k8s.io", "ingressclasses"),
        ("networking.k8s.io", "ingresses"),
        ("networking.k8s.io", "ipaddresses"),
        ("networking.k8s.io", "servicecidrs"),
    }
)
# `kubectl describe namespace` looks for them and takes "not found", alone, for a server that has none.
_LOOKED_FOR = frozenset({("", "limitranges")})
_UNBUILT_SUBRESOURCES = frozenset({"attach", "ephemeralcontainers", "exec", "portforward", "proxy", "resize", "scale"})


class ApiServer:
    """HTTP over a registry. token: the administrator's bearer token. logs: where pods' logs lie; without it pods/log
    answers 501. tls: a server context; without it plain HTTP (tests)."""

    def __init__(
        self, registry: Registry, token: str, *, tls: ssl.SSLContext | None = None, logs: PodLogs | None = None
    ):
        self.registry = registry
        self.access = Access(registry.storage, token, registry.clock)
        registry.writes.guard = Guard(self.access, registry.storage).check
        self.logs = logs
        self._tls = tls
        self._openapi = OpenApi(registry.catalog)
        self._address = ""
        self._runner: web.AppRunner | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self.app = web.Application(client_max_size=MAX_BODY)
        self.app.router.add_route("*", "/{tail:.*}", self._handle)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (useful where 0 was asked for)."""
        runner = web.AppRunner(self.app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=self._tls, backlog=1024)
        await site.start()
        self._runner = runner
        self._upkeep = asyncio.create_task(self.registry.upkeep(), name="apiserver upkeep")
        bound: int = runner.addresses[0][1]
        self._address = f"{host}:{bound}"
        return bound

    async def stop(self) -> None:
        """End all watches and stop listening. The registry stays open: it is its maker's."""
        self.registry.hub.close()
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        yaml_wanted = False
        try:
            user = self._user(request)
            parts = [p for p in request.path.split("/") if p]
            target = route.target(request.method, parts, request.query) if len(parts) > 2 else None
            if target is None:
                return self._page(request, user, parts)
            accept = wanted(request.headers.get("Accept"))
            yaml_wanted = accept.yaml
            return await self._resource(request, user, target, accept)
        except ApiError as e:
            return refusal(e, yaml_wanted=yaml_wanted)
        except web.HTTPRequestEntityTooLarge:
            return refusal(ApiError(413, "RequestEntityTooLarge", f"limit is {MAX_BODY} bytes"))
        except web.HTTPException:
            raise
        except Exception as e:  # noqa: BLE001 - whatever goes wrong, the client gets a Status and the log the trace
            _log.exception("%s %s", request.method, request.path)
            return refusal(errors.internal(f"{type(e).__name__}: {e}"))

    def _user(self, request: web.Request) -> User:
        headers = request.headers
        user = self.access.authenticate(headers.get("Authorization"))
        if not any(name.lower().startswith("impersonate-") for name in headers):
            return user
        groups = list(headers.getall("Impersonate-Group", []))
        return self.access.impersonated(
            user, headers.get("Impersonate-User"), groups, headers.get("Impersonate-Uid", "")
        )

    # --- resources

    async def _resource(
        self, request: web.Request, user: User, target: route.Target, accept: Wanted
    ) -> web.StreamResponse:
        attributes = Attributes(target.verb, target.group, target.resource_text, target.namespace, target.name or "")
        resource = self.registry.catalog.find(target.group, target.version, target.plural)
        if resource is None or (target.namespace is not None and not resource.namespaced):
            self.access.require(user, attributes)
            self._refuse_unbuilt(target)
            return no_such_page()
        if resource.group == "" and resource.plural == "namespaces" and target.name:
            attributes = Attributes(target.verb, "", target.resource_text, target.name, target.name)
        self.access.require(user, attributes)
        call = Call(request, self.registry, resource, target, accept, user)
        if target.verb == "patch" and not target.subresource and call.applies and not call.exists:
            # An apply that creates needs the right to create, too.
            self.access.require(user, dataclasses.replace(attributes, verb="create"))
        if target.verb == "get" and route.is_true(request.query.get("watch")) and not target.subresource:
            return await watch(call)
        if target.subresource:
            return await self._subresource(call, resource, target)
        if resource in REVIEWS and target.verb == "create":
            return await reviews.review(call, self.access, user)
        handler = _HANDLERS.get(target.verb)
        if handler is None or target.verb not in resource.verbs:
            raise errors.method_not_allowed()
        if (target.verb == "create" and target.name) or (target.verb in ("update", "patch") and not target.name):
            raise errors.method_not_allowed()
        if resource.namespaced and target.namespace is None and target.verb not in ("list", "watch"):
            raise errors.method_not_allowed()
        return await handler(call)

    async def _subresource(self, call: Call, resource: Resource, target: route.Target) -> web.StreamResponse:
        found = resource.subresource(target.subresource or "")
        if found is None:
            self._refuse_unbuilt(target)
            return no_such_page()
        if target.verb not in found.verbs:
            raise errors.method_not_allowed()
        match (resource.plural, found.name):
            case ("pods", "log"):
                return await podlogs.pod_log(call, self.logs)
            case ("pods", "eviction"):
                return await self._evict(call)
            case ("pods", "binding"):
                return await self._bind(call)
            case (_, "scale"):
                return await scale.scale(call)
            case ("serviceaccounts", "token") if resource == SERVICE_ACCOUNTS:
                return await reviews.token(call, self.access)
        return await _HANDLERS[target.verb](call)

    async def _evict(self, call: Call) -> web.StreamResponse:
        """policy/v1 Eviction: marks the pod as disrupted, then deletes it. There are no disruption budgets here."""
        request = call.write_request("CreateOptions")
        obj = await call.read_object(request)
        self.registry.evict(PODS, call.target.namespace, call.name, obj.get("deleteOptions") or {}, request)
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return answer_object(status, call.wanted, 201, request.warnings)

    async def _bind(self, call: Call) -> web.StreamResponse:
        request = call.write_request("CreateOptions")
        target = (await call.read_object(request)).get("target") or {}
        await self.registry.bind(call.target.namespace or "", call.name, target.get("name") or "")
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return answer_object(status, call.wanted, 201, request.warnings)

    def _refuse_unbuilt(self, target: route.Target) -> None:
        if (target.group, target.plural) in _LOOKED_FOR and target.verb == "list":
            raise ApiError(404, "NotFound", f"the embedded cluster does not serve {target.plural}")
        what = f"{target.resource_text} of {target.group or 'core'}/{target.version}"
        if target.group in _UNBUILT_GROUPS or (target.group, target.plural) in _UNBUILT:
            raise errors.not_implemented(what)
        if target.subresource in _UNBUILT_SUBRESOURCES and not target.group.count("."):
            raise errors.not_implemented(what)

    # --- everything else

    def _page(self, request: web.Request, user: User, parts: list[str]) -> web.StreamResponse:
        if parts and parts[0] in _HEALTH:
            return web.Response(text="ok", content_type="text/plain")
        self.access.require(user, Attributes(request.method.lower(), path=request.path))
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        served = list(self.registry.catalog)
        accept = request.headers.get("Accept")
        match parts:
            case []:
                paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]
                paths += [f"/apis/{g}" for g in discovery.groups_of(served)]
                return answer_object({"paths": sorted(paths)}, wanted(accept))
            case ["version"]:
                return answer_object(discovery.version_info(), wanted(accept))
            case ["openapi", "v2"]:
                raise errors.not_implemented("/openapi/v2; use /openapi/v3")
            case ["openapi", "v3", *rest]:
                return self._openapi_page("/".join(rest))
            case ["api"] | ["apis"]:
                return self._discovery(accept, served, core=parts[0] == "api")
            case ["api", "v1"]:
                return answer_object(discovery.resource_list(served, "", "v1"), wanted(accept))
            case ["apis", group] if group in discovery.groups_of(served):
                return answer_object(discovery.api_group(served, group), wanted(accept))
            case ["apis", group, version] if version in discovery.versions_of(served, group):
                return answer_object(discovery.resource_list(served, group, version), wanted(accept))
            case ["apis", group, *_] if group in _UNBUILT_GROUPS:
                raise errors.not_implemented(f"the API group {group}")
        return no_such_page()

    def _discovery(self, accept: str | None, served: list[Resource], *, core: bool) -> web.Response:
        asked = wanted(accept)
        if asked.as_kind == "APIGroupDiscoveryList":
            response = answer_object(discovery.aggregated(served, core=core), asked)
            response.headers["Content-Type"] = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            return response
        if core:
            return answer_object(discovery.api_versions(self._address), asked)
        return answer_object(discovery.group_list(served), asked)

    def _openapi_page(self, path: str) -> web.Response:
        found = self._openapi.index() if not path else self._openapi.document(path)
        return no_such_page() if found is None else web.Response(body=found, content_type="application/json")
