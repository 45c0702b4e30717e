"""The operator's benchmark: starts what it needs, lets the runs go, and takes the figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks.operator_cluster import (
    NETWORK_ERRORS,
    BenchmarkError,
    Operator,
    Process,
    Samples,
    add_node,
    create_foreign_jobs,
    namespace,
    start_api_server,
)
from benchmarks.operator_figures import (
    MIB,
    Cpu,
    cores,
    histogram_quantile,
    less,
    machine,
    quantile,
    reconciles,
    table,
    total,
    writes_of_runs,
)
from benchmarks.operator_runs import Pace, Simulator, jobs_of_run, make_run
from selm_operator.kube import RUNS, ApiError, Connection, KubeClient

Json = dict[str, Any]
console = Console()
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
SETTLE_SECONDS = 3.0
"""An operator without runs is idle after this long."""
STARTUP_FACTOR = 10.0
"""So many times the ramp, and a minute, may pass until every run has its first Job."""


@dataclass(frozen=True)
class Options:
    """What is measured; times in seconds."""

    runs: int
    foreign_jobs: int
    iterations: int
    shards: int
    phase_seconds: float
    start_seconds: float
    ramp_seconds: float
    measure_seconds: float
    fast_runs: int
    workers: int | None
    until_finished: bool
    node_only: bool
    restart: bool

    @property
    def title(self) -> str:
        rate = self.runs / (self.phase_seconds + self.start_seconds)
        crowd = f"{self.runs:,} active runs, {self.foreign_jobs:,} foreign Jobs"
        return f"{crowd}; about {rate:.1f} Jobs end a second, for {self.measure_seconds:.0f} s"

    @property
    def fast(self) -> frozenset[str]:
        return frozenset(run_name(index) for index in range(min(self.fast_runs, self.runs)))

    @property
    def speed(self) -> float:
        """How much faster the fast runs are, so that they are over within the measurement."""
        whole = jobs_of_run(self.iterations) * (self.phase_seconds + self.start_seconds)
        return max(1.0, 1.5 * whole / self.measure_seconds)


def run_name(index: int) -> str:
    return f"run-{index:05d}"


class Bench:
    """One measurement: its operator, its simulator, and the memory seen over time."""

    def __init__(self, options: Options, client: KubeClient, where: str, operator: Operator, api: Process | None):
        self.options, self.client, self.where, self.operator, self.api = options, client, where, operator, api
        pace = Pace(options.phase_seconds, options.start_seconds, options.fast, options.speed)
        self.simulator = Simulator(client, where, pace, node_only=options.node_only)
        self.memory: list[tuple[float, float]] = []
        """Seconds since the start, and the operator's resident MiB."""

    async def measure(self) -> Json:
        """The figures. Raises BenchmarkError where the operator or the simulator cannot go on."""
        options, begun = self.options, time.monotonic()
        await self.operator.start_and_wait()
        await asyncio.sleep(SETTLE_SECONDS)
        idle = self.operator.rss() / MIB
        watching = asyncio.create_task(self._watch_memory(begun))
        playing = asyncio.create_task(self.simulator.run())
        try:
            if not options.until_finished:
                await self._create_runs(playing)
                console.print(f"every run is at work after {time.monotonic() - begun:.0f} s; measuring")
            before, cpu, start = self.operator.scrape(), self._cpu(), time.monotonic()
            requests = self.simulator.requests
            if options.until_finished:
                await self._create_runs(playing)
            await self._let_go(playing)
            seconds = time.monotonic() - start
            counted, used = less(self.operator.scrape(), before), cores(self._cpu(), cpu, seconds)
            figures = self._figures(counted, used, seconds, start, idle)
            figures["simulatorRequests"] = self.simulator.requests - requests
            if options.restart:
                figures["restart"] = await self._restart(playing)
            figures["operatorMemoryMiB"]["overTime"] = [[round(t), round(m, 1)] for t, m in self.memory[::5]]
            return figures
        finally:
            for task in (watching, playing):
                task.cancel()
            await asyncio.gather(watching, playing, return_exceptions=True)

    def _figures(self, counted: Samples, used: Json, seconds: float, start: float, idle: float) -> Json:
        options = self.options
        gaps = [gap for ended, gap in self.simulator.gaps if ended >= start]
        all_cpu = sum(value for name, value in used.items() if value is not None and name != "others")
        queue = "selm_operator_queue_wait_seconds"
        return {
            "title": options.title,
            "options": asdict(options),
            "machine": machine(),
            "seconds": round(seconds, 1),
            "reconcile": {
                **reconciles(counted, seconds),
                "queueP50": histogram_quantile(counted, queue, 0.5),
                "queueP99": histogram_quantile(counted, queue, 0.99),
            },
            "jobToJob": {
                "count": len(gaps),
                "p50": quantile(gaps, 0.5),
                "p99": quantile(gaps, 0.99),
                "max": max(gaps, default=None),
            },
            "operatorMemoryMiB": {"idle": round(idle), "max": round(max(m for _, m in self.memory))},
            "writesPerRun": writes_of_runs(self.simulator.records),
            "writesGoal": 48 * jobs_of_run(options.iterations) // jobs_of_run(3),
            "cores": used,
            "apiServerCpuShare": round(used["apiServer"] / all_cpu, 3) if used["apiServer"] is not None else None,
        }

    async def _create_runs(self, playing: asyncio.Task[None]) -> None:
        """Returns when each has its first Job."""
        options = self.options
        for index in range(options.runs):
            try:
                run = make_run(run_name(index), options.iterations, options.shards)
                await self.client.create(RUNS, self.where, run)
            except ApiError as error:
                raise BenchmarkError(f"run {run_name(index)} was refused: {error}") from error
            await self._play(playing, options.ramp_seconds / options.runs)
        end = time.monotonic() + 60.0 + STARTUP_FACTOR * self.options.ramp_seconds
        while self._started() < self.options.runs:
            await self._play(playing, 0.5)
            if time.monotonic() > end:
                raise BenchmarkError(f"only {self._started()} of {self.options.runs} runs have a Job by now")

    async def _let_go(self, playing: asyncio.Task[None]) -> None:
        """The time of the measurement, or with `until_finished` as much of it as the runs need."""
        end = time.monotonic() + self.options.measure_seconds
        while (left := end - time.monotonic()) > 0:
            await self._play(playing, min(left, 1.0))
            records = self.simulator.records.values()
            if self.options.until_finished and sum(record.finished for record in records) >= self.options.runs:
                return

    def _started(self) -> int:
        return sum(record.jobs > 0 for record in self.simulator.records.values())

    async def _play(self, playing: asyncio.Task[None], seconds: float) -> None:
        """Lets the simulation go on. Raises what it died of, or BenchmarkError where the operator has ended."""
        await asyncio.wait({playing}, timeout=seconds)
        if playing.done():
            try:
                playing.result()
            except* (ApiError, *NETWORK_ERRORS) as broken:
                raise BenchmarkError(f"the simulated cluster cannot go on: {broken.exceptions[0]!r}") from broken
        if not self.operator.alive:
            raise BenchmarkError(f"the operator has ended; see its log {self.operator.log}")

    async def _restart(self, playing: asyncio.Task[None]) -> Json:
        """How long a new operator takes to look at every run: until then an ended Job of the last one waits."""
        await asyncio.to_thread(self.operator.stop)
        begun, highest = time.monotonic(), 0.0
        await self.operator.start_and_wait()
        while total(self.operator.scrape(), "selm_operator_reconcile_duration_seconds_count") < self.options.runs:
            await self._play(playing, 0.1)
            highest = max(highest, self.operator.rss() / MIB)
        return {"seconds": round(time.monotonic() - begun, 2), "memoryMiB": round(highest)}

    async def _watch_memory(self, begun: float) -> None:
        while True:
            self.memory.append((time.monotonic() - begun, self.operator.rss() / MIB))
            await asyncio.sleep(1.0)

    def _cpu(self) -> Cpu:
        own = psutil.Process().cpu_times()
        whole = psutil.cpu_times()
        busy = sum(whole) - whole.idle - getattr(whole, "iowait", 0.0) - getattr(whole, "guest", 0.0)
        return Cpu(self.operator.cpu(), own.user + own.system, self.api.cpu() if self.api else None, busy)


@contextlib.asynccontextmanager
async def api_server(kubeconfig: Path | None, folder: Path) -> AsyncIterator[tuple[Process | None, Path]]:
    """The API server that was given, or an embedded one of our own."""
    if kubeconfig is not None:
        yield None, kubeconfig
        return
    process, own = await start_api_server(folder)
    try:
        yield process, own
    finally:
        process.stop()


async def run(options: Options, kubeconfig: Path | None, folder: Path) -> Json:
    async with api_server(kubeconfig, folder) as (api, config):
        os.environ["KUBECONFIG"] = str(config)
        async with namespace(config) as where:
            client = KubeClient(await Connection.load())
            settings = {"SELM_WORKERS": str(options.workers)} if options.workers else {}
            operator = Operator(config, where, folder / "operator.log", settings)
            try:
                console.print(f"creating {options.foreign_jobs:,} foreign Jobs in namespace {where}")
                await create_foreign_jobs(client, where, options.foreign_jobs)
                if options.node_only:
                    await asyncio.to_thread(add_node, config)
                return await Bench(options, client, where, operator, api).measure()
            finally:
                operator.stop()
                await client.close()


@app.command()
def main(
    runs: Annotated[int, typer.Option(min=1, help="active SELMRuns")] = 1000,
    foreign_jobs: Annotated[int, typer.Option(min=0, help="suspended Jobs of others in the same namespace")] = 20_000,
    iterations: Annotated[int, typer.Option(min=1, max=50)] = 3,
    shards: Annotated[int, typer.Option(min=1, help="of generation and scoring")] = 1,
    phase_seconds: Annotated[float, typer.Option(min=0.1, help="mean time of a simulated Job at work")] = 300.0,
    start_seconds: Annotated[float, typer.Option(min=0.0, help="time until its pods run")] = 2.0,
    ramp_seconds: Annotated[float, typer.Option(min=0.0, help="time over which the runs are created")] = 60.0,
    measure_seconds: Annotated[float, typer.Option(min=1.0, help="from when every run has its first Job")] = 300.0,
    fast_runs: Annotated[int, typer.Option(min=0, help="runs that end within that time: writes are counted")] = 20,
    workers: Annotated[int | None, typer.Option(min=1, help="SELM_WORKERS of the operator")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(exists=True, help="default: an embedded API server")] = None,
    until_finished: Annotated[
        bool, typer.Option(help="measure from the first run's creation to the last one's end")
    ] = False,
    node_only: Annotated[bool, typer.Option(help="the cluster has a Job controller and a scheduler")] = False,
    restart: Annotated[bool, typer.Option(help="measure a restart of the operator, too")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="where the figures are written")] = None,
    state: Annotated[
        Path | None, typer.Option(help="folder for logs and state, kept; default: a temporary one")
    ] = None,
) -> None:
    """Measure the operator; pods are simulated. Exit code 0: measured, whatever the figures are; 1: it could not be."""
    given = dict(locals())
    options = Options(**{name: given[name] for name in Options.__dataclass_fields__})
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.ExitStack() as stack:
        folder = state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="selm-benchmark-")))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            figures = asyncio.run(run(options, kubeconfig, folder))
        except BenchmarkError as error:
            console.print(f"[bold red]benchmark:[/] {error}", highlight=False)
            raise typer.Exit(1) from error
    console.print(table(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1, default=str) + "\n")
        console.print(f"figures in {json_file}")
