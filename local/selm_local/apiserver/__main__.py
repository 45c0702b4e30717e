"""`python -m selm_local.apiserver --dir D --port P`: the API server alone, without controllers or a node."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import signal
from pathlib import Path

from selm_local.apiserver.registry import Registry
from selm_local.apiserver.tls import ensure_certificates, kubeconfig, write_private
from selm_local.apiserver.web.app import ApiServer


def admin_token(folder: Path) -> str:
    """The administrator's token, kept in the folder from the first start on."""
    path = folder / "token"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode())
    return path.read_text().strip()


async def serve(folder: Path, host: str, port: int) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    token, certificates = admin_token(folder), ensure_certificates(folder / "tls")
    registry = Registry.open(folder / "cluster.sqlite")
    server = ApiServer(registry, token, tls=certificates.context())
    bound = await server.start(host, port)
    text = kubeconfig(f"https://{host}:{bound}", certificates.ca.read_bytes(), token)
    write_private(folder / "kubeconfig", text.encode())
    logging.getLogger(__name__).info("serving on https://%s:%s, kubeconfig %s", host, bound, folder / "kubeconfig")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop()
    registry.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m selm_local.apiserver", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder of the state; holds the kubeconfig afterwards")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(arguments.dir, arguments.host, arguments.port))


if __name__ == "__main__":
    main()
