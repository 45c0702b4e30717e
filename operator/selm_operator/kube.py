"""A thin asynchronous client of the Kubernetes API: JSON in, JSON out, one exception for every answer that is no success.

The configuration (kubeconfig with its certificates, tokens and exec plugins, or a pod's service account) is loaded by
kubernetes_asyncio. Its generated models are not used: an object stays the JSON that the API server sent, so that nothing
of an API newer than the library is lost on the way back.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import load_incluster_config, load_kube_config

from selm_operator.constants import FIELD_MANAGER

Json = dict[str, Any]

APPLY = "application/apply-patch+yaml"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
EVENT_LINE_LIMIT = 4 * 1024 * 1024  # bytes of one watch event: etcd's limit of an object, twice


class ApiError(Exception):
    """An answer of the API server that is no success; `code` is HTTP's, `reason` is that of the v1.Status."""

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message, self.details = code, reason, message, dict(details or {})

    @staticmethod
    def of(code: int, body: str) -> ApiError:
        """From an answer's body: a v1.Status, or whatever a proxy said."""
        try:
            status = json.loads(body)
        except json.JSONDecodeError:
            status = None
        if not isinstance(status, dict):
            return ApiError(code, "Unknown", body[:512])
        reason = str(status.get("reason") or "Unknown")
        return ApiError(code, reason, str(status.get("message") or body[:512]), status.get("details"))


@dataclass(frozen=True)
class Resource:
    """A kind of object as it stands in URLs."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)


RUNS = Resource("selm.dev", "v1alpha1", "selmruns")
JOBS = Resource("batch", "v1", "jobs")
PODS = Resource("", "v1", "pods")
SERVICES = Resource("", "v1", "services")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
EVENTS = Resource("events.k8s.io", "v1", "events")


def owner_uid(obj: Json) -> str | None:
    """The uid of the controlling owner, or None."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return None


class Api(Protocol):
    """What the operator asks of a cluster. Tests put an in-memory cluster in its place."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Json: ...
    async def list(self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "") -> Json: ...
    async def create(self, resource: Resource, namespace: str, obj: Json) -> Json: ...
    async def replace(
        self, resource: Resource, namespace: str, obj: Json, *, subresource: str | None = None
    ) -> Json: ...
    async def apply(self, resource: Resource, namespace: str, obj: Json) -> Json: ...
    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str) -> None: ...


@dataclass(frozen=True)
class Connection:
    """Where the API server is and how one proves who one is."""

    configuration: Configuration

    @staticmethod
    async def load() -> Connection:
        """From `KUBECONFIG` or ~/.kube/config, else from the pod's service account.

        Raises kubernetes_asyncio.config.ConfigException where neither can be read.
        """
        configuration = Configuration()
        path = os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
        in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
        if in_cluster or not os.path.exists(path.split(os.pathsep)[0]):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)
        return Connection(configuration)

    @property
    def server(self) -> str:
        return str(self.configuration.host).rstrip("/")

    def ssl_context(self) -> ssl.SSLContext:
        configuration = self.configuration
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def authorization(self) -> str | None:
        """The value of the header, renewed where the credentials say how; None with a client certificate."""
        token = await self.configuration.get_api_key_with_prefix("BearerToken")
        return None if token is None else str(token)


class KubeClient:
    """`Api` over HTTP. `request_seconds` bounds each request but the watches.

    `on_answer` is told the HTTP method of each such request and the seconds until its answer was read, or it failed.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        request_seconds: float = 30.0,
        on_answer: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        self.connection, self.on_answer = connection, on_answer
        self.timeout = aiohttp.ClientTimeout(total=request_seconds)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=connection.ssl_context(), limit=32),
            proxy=connection.configuration.proxy or None,
            headers={"User-Agent": FIELD_MANAGER, "Accept": "application/json"},
            read_bufsize=EVENT_LINE_LIMIT,
        )

    async def close(self) -> None:
        await self.session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        return await self._json("GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Json:
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        query = {name: value for name, value in selectors.items() if value}
        return await self._json("GET", resource.path(namespace), query, accept=METADATA if metadata_only else None)

    async def create(self, resource: Resource, namespace: str, obj: Json) -> Json:
        return await self._json("POST", resource.path(namespace), {"fieldManager": FIELD_MANAGER}, obj)

    async def replace(self, resource: Resource, namespace: str, obj: Json, *, subresource: str | None = None) -> Json:
        path = resource.path(namespace, obj["metadata"]["name"], subresource)
        return await self._json("PUT", path, {"fieldManager": FIELD_MANAGER}, obj)

    async def apply(self, resource: Resource, namespace: str, obj: Json) -> Json:
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._json("PATCH", resource.path(namespace, obj["metadata"]["name"]), query, obj, APPLY)

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str) -> None:
        options = {"preconditions": {"uid": uid}, "propagationPolicy": propagation}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        await self._json("DELETE", resource.path(namespace, name), {}, body)

    async def watch(
        self, resource: Resource, namespace: str | None, *, labels: str, version: str, seconds: float
    ) -> AsyncIterator[Json]:
        """Events after `version`, bookmarks among them, until the server closes after `seconds`; 410 raises ApiError."""
        query = {"watch": "true", "allowWatchBookmarks": "true", "labelSelector": labels, "resourceVersion": version}
        query["timeoutSeconds"] = str(int(seconds))
        # A bookmark comes every minute, so a silent stream is a dead one.
        timeout = aiohttp.ClientTimeout(
            total=seconds + 30, sock_connect=30, sock_read=max(90.0, self.timeout.total or 0)
        )
        url, headers = self.connection.server + resource.path(namespace), await self._headers()
        async with self.session.get(url, params=query, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                raise ApiError.of(response.status, await response.text())
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(
                        int(status.get("code") or 500), str(status.get("reason")), str(status.get("message"))
                    )
                yield event

    async def _headers(self) -> dict[str, str]:
        authorization = await self.connection.authorization()
        return {} if authorization is None else {"Authorization": authorization}

    async def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> Json:
        headers = await self._headers()
        if accept is not None:
            headers["Accept"] = accept
        data = None
        if body is not None:
            headers["Content-Type"], data = content_type, json.dumps(body)
        url = self.connection.server + path
        request = self.session.request(method, url, params=query, data=data, headers=headers, timeout=self.timeout)
        begun = time.perf_counter()
        try:
            async with request as response:
                text = await response.text()
        finally:
            self.on_answer(method, time.perf_counter() - begun)
        if not 200 <= response.status < 300:
            raise ApiError.of(response.status, text)
        answer = json.loads(text)
        if not isinstance(answer, dict):
            raise ApiError(502, "Unknown", f"{method} {path}: the answer is no JSON object")
        return answer
