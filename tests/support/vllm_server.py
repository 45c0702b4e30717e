"""vLLM's own OpenAI-compatible server with a tiny model, as a process: what judges are asked through."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 400
STOP_SECONDS = 60


@contextmanager
def serving_model(model: Path, name: str, key: str, log: Path) -> Iterator[str]:
    """The base URL, `http://127.0.0.1:<port>/v1`, of a server that knows the model by `name` and asks for `key`.

    What the server says goes to the file `log`. Fails where it does not answer within `START_SECONDS`.
    """
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
                *("--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), "--api-key", key),
                *("--dtype", "float32", "--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "8"),
            ],
            stdout=stream,
            stderr=stream,
            env=environment,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(STOP_SECONDS)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-4000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    raise AssertionError(log.read_text()[-4000:])
