"""The operator's HTTP server: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

It runs in the event loop that does the work, so that a loop that hangs answers no probe.
"""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from selm_operator.health import Health, Probe, ask


async def start_http_server(port: int, registry: CollectorRegistry, health: Health) -> web.AppRunner:
    """Listens on all addresses; `cleanup()` of what is returned ends it. Raises OSError where the port is taken."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def probe(probes: dict[str, Probe]) -> web.Response:
        report = ask(probes)
        return web.Response(text=str(report), status=200 if report.healthy else 503)

    async def healthz(_: web.Request) -> web.Response:
        return probe(health.liveness)

    async def readyz(_: web.Request) -> web.Response:
        return probe(health.readiness)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner
