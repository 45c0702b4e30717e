"""`python -m selm_local cluster|s3 …`: the daemons that `selm local up` starts. Not meant to be run by hand."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from pathlib import Path

from selm_local.state import StateDir


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m selm_local", description=__doc__)
    daemons = parser.add_subparsers(dest="daemon", required=True)
    cluster = daemons.add_parser("cluster", help="API server, controllers and node")
    cluster.add_argument("--cpus", type=int)
    cluster.add_argument("--memory")
    cluster.add_argument("--gpus", type=int, default=0)
    cluster.add_argument("--container-default", action="append", default=[], metavar="NAME=VALUE")
    store = daemons.add_parser("s3", help="the object store")
    for one in (cluster, store):
        one.add_argument("--state", type=Path, required=True)
        one.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    state = StateDir(arguments.state.absolute())
    if arguments.daemon == "cluster":
        from selm_local.cluster import ClusterSettings, serve

        defaults = dict(one.split("=", 1) for one in arguments.container_default)
        settings = ClusterSettings(arguments.port, arguments.cpus, arguments.memory, arguments.gpus)
        asyncio.run(serve(state, settings, dict(os.environ), defaults))
    else:
        from selm_local.s3.server import serve as serve_store

        serve_store(state.s3, arguments.port)


if __name__ == "__main__":
    main()
