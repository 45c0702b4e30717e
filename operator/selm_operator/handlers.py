"""kopf's part: its watch of SELMRuns wakes the queue, and nothing else.

Low-level event handlers alone: with them kopf writes neither a finalizer nor an annotation on anybody's object.
"""

from __future__ import annotations

from typing import Any

import kopf

from selm_operator.constants import GROUP, PLURAL, VERSION
from selm_operator.jobs_watch import RunKey
from selm_operator.kube import Connection
from selm_operator.queue import WorkQueue
from selm_operator.runs_audit import RunsAudit


def registry(queue: WorkQueue[RunKey], connection: Connection, audit: RunsAudit | None = None) -> kopf.OperatorRegistry:
    """The handlers of one operator, bound to its queue, its way to the API server, and what audits the watch."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def wake(namespace: str | None, name: str | None, body: kopf.Body, type: str | None, **_: Any) -> None:
        if namespace is not None and name is not None:
            queue.add((namespace, name))
        if audit is not None:
            audit.note(body["metadata"]["uid"], body["metadata"]["resourceVersion"], gone=type == "DELETED")

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(connection)

    return handlers


async def connection_info(connection: Connection) -> kopf.ConnectionInfo:
    """The connection that the operator's own client has, in kopf's words."""
    configuration = connection.configuration
    authorization = await connection.authorization()
    scheme, _, token = (authorization or "").partition(" ")
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        proxy_url=configuration.proxy or None,
    )


def kopf_settings() -> kopf.OperatorSettings:
    """Time-outs that end a silent connection, and nothing that writes."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no rights on CustomResourceDefinitions and Namespaces are needed
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.peering.standalone = True
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.process.ultimate_exiting_timeout = 20
    return settings
