"""What the operator's benchmark runs against and what it starts: an API server, the operator, the objects of a crowd."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from selm_operator.kube import JOBS, ApiError, KubeClient

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CRD = ROOT / "crds" / "selmruns.selm.dev.yaml"
READY_SECONDS = 60.0
NODE = "selm-benchmark"
"""The node of simulated pods; it exists as an object only with `--node-only`."""
TAINT = "selm.dev/benchmark"
AT_ONCE = 16
"""Requests of the benchmark's own that are under way at one time."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""A scrape: the value by the sample's name and its sorted labels."""


class BenchmarkError(Exception):
    """The benchmark cannot measure what it was asked to; the message says why."""


@dataclass
class Process:
    """A process of its own whose CPU and memory are looked at. `cpu()` and `rss()` are 0 after its end."""

    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command, env={**os.environ, **self.env}, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def rss(self) -> int:
        """Resident memory now, bytes."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def stop(self) -> None:
        if self.popen is None:
            return
        self.popen.terminate()
        try:
            self.popen.wait(30)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    async def until(self, ready: Callable[[], bool], what: str) -> None:
        """Waits for `ready`. Raises BenchmarkError with the log's end where the process ends before, or time is up."""
        end = time.monotonic() + READY_SECONDS
        while not ready():
            if not self.alive or time.monotonic() > end:
                words = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise BenchmarkError(f"{what} is not ready; its log {self.log} says:\n{words}")
            await asyncio.sleep(0.1)


async def start_api_server(folder: Path) -> tuple[Process, Path]:
    """The embedded API server alone, its state in `folder`: no controllers, no node. The process and its kubeconfig."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.unlink(missing_ok=True)
    command = [sys.executable, "-m", "selm_local.apiserver", "--dir", str(folder)]
    process = Process(command, folder / "apiserver.log")
    process.start()
    await process.until(kubeconfig.exists, "the API server")
    return process, kubeconfig


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Operator(Process):
    """`python -m selm_operator`, as a Deployment would start it, with its metrics."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, settings: dict[str, str]) -> None:
        self.port = free_port()
        # The Lease is the benchmark's own, and so are the runs: an operator that is at work here is not disturbed.
        own = {"KUBECONFIG": str(kubeconfig), "SELM_NAMESPACE": namespace, "SELM_NAMESPACES": namespace}
        super().__init__(
            [sys.executable, "-m", "selm_operator"], log, {**own, "SELM_HTTP_PORT": str(self.port), **settings}
        )

    def scrape(self) -> Samples:
        """All metrics now. Raises OSError where nobody answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as response:
            text = response.read().decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def start_and_wait(self) -> None:
        self.start()
        await self.until(self._answers, "the operator")

    def _answers(self) -> bool:
        try:
            self.scrape()
        except (urllib.error.URLError, OSError):
            return False
        return True


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> None:
    """Raises BenchmarkError with what kubectl said."""
    done = subprocess.run(
        [str(BIN / "kubectl"), "--kubeconfig", str(kubeconfig), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")


@asynccontextmanager
async def namespace(kubeconfig: Path, name: str | None = None) -> AsyncIterator[str]:
    """A namespace for the measurement, the CRD beside it. One that was not named is new, and is deleted afterwards."""
    used = name or f"selm-benchmark-{uuid.uuid4().hex[:6]}"
    kubectl(kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    kubectl(kubeconfig, "wait", "--for=condition=Established", f"--filename={CRD}", "--timeout=60s")
    manifest = yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": used}})
    kubectl(kubeconfig, "apply", "-f", "-", stdin=manifest)
    try:
        yield used
    finally:
        if name is None:
            kubectl(kubeconfig, "delete", "namespace", used, "--wait=false")


def add_node(kubeconfig: Path) -> None:
    """A node that nobody runs: pods are bound to it by the cluster's scheduler, their status is the simulator's."""
    taint = {"key": TAINT, "effect": "NoSchedule"}
    labels = {"kubernetes.io/hostname": NODE}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": labels},
        "spec": {"taints": [taint]},
    }
    room = {"cpu": "100k", "memory": "1Pi", "pods": "100k", "nvidia.com/gpu": "100k"}
    ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": "a node of the benchmark"}
    status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
    kubectl(kubeconfig, "apply", "-f", "-", stdin=yaml.safe_dump(node))
    kubectl(kubeconfig, "patch", "node", NODE, "--subresource=status", "--type=merge", "-p", json.dumps(status))


def foreign_job(name: str) -> Json:
    """A Job of somebody else: suspended, so that it does nothing wherever it is, with a pod template of ordinary size."""
    container = {
        "name": "main",
        "image": "registry.example/batch:1",
        "command": ["/bin/true"],
        "env": [{"name": f"VARIABLE_{i}", "value": "x" * 60} for i in range(8)],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "foreign", "team": "b"}},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


async def create_foreign_jobs(client: KubeClient, where: str, count: int) -> None:
    """As many Jobs of others in the namespace of the runs: the worst place, for lists there read past all of them."""

    async def create(index: int) -> None:
        try:
            await client.create(JOBS, where, foreign_job(f"foreign-{index:06d}"))
        except ApiError as error:
            if error.code != 409:  # there from an earlier measurement in the same namespace
                raise

    await in_parallel(create(index) for index in range(count))


async def in_parallel(work: Iterable[Awaitable[None]]) -> None:
    """Awaits all, some at a time; raises what the first that fails raises."""
    pending = iter(work)

    async def worker() -> None:
        for one in pending:
            await one

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())


NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)
