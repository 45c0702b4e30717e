"""From scrapes and records to the figures of the operator's benchmark, and the one table."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from rich.table import Table

from benchmarks.operator_cluster import BenchmarkError, Samples
from benchmarks.operator_runs import RunRecord

Json = dict[str, Any]
MIB = 2**20


def quantile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank quantile; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def total(samples: Samples, name: str, missing: float | None = None) -> float:
    """The sum over all labels.

    Raises BenchmarkError where there is no sample and no value for that: a renamed metric must not read as zero. A
    counter with labels has none until it counts.
    """
    found = [value for (sample, _), value in samples.items() if sample == name]
    if not found:
        if missing is not None:
            return missing
        raise BenchmarkError(f"the operator has no metric {name}; it has {sorted({n for n, _ in samples})}")
    return sum(found)


def less(after: Samples, before: Samples) -> Samples:
    """What was counted between two scrapes."""
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def histogram_quantile(samples: Samples, name: str, share: float) -> float | None:
    """The quantile of a Prometheus histogram, interpolated within its bucket; None where nothing was observed.

    In the last, open bucket it is that bucket's lower bound: the figure is then too low and a bucket is missing.
    """
    buckets: dict[float, float] = {}
    for (sample, labels), value in samples.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] == 0:
        return None
    wanted, lower, below = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (wanted - below) / (buckets[bound] - below)
        lower, below = bound, buckets[bound]
    return lower


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU at one time, by process and of the whole machine; the API server's is None where it is elsewhere."""

    operator: float
    simulator: float
    api_server: float | None
    machine: float


def cores(after: Cpu, before: Cpu, seconds: float) -> Json:
    """Cores that each process kept busy, and those that everything else on the machine did."""

    def used(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else round((a - b) / seconds, 3)

    own = {
        "operator": used(after.operator, before.operator),
        "simulator": used(after.simulator, before.simulator),
        "apiServer": used(after.api_server, before.api_server),
    }
    busy = (after.machine - before.machine) / seconds
    return {**own, "others": round(max(0.0, busy - sum(value or 0.0 for value in own.values())), 3)}


def machine() -> Json:
    """What was measured on, in general words."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memoryMiB": psutil.virtual_memory().total // MIB,
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load1": round(os.getloadavg()[0], 2),
    }


def reconciles(counted: Samples, seconds: float) -> Json:
    """How long passes took, and how much of that was waiting for the API server's answers."""
    name, requests = "selm_operator_reconcile_duration_seconds", "selm_operator_api_request_duration_seconds"
    count, spent = total(counted, f"{name}_count"), total(counted, f"{name}_sum")
    asked, waited = total(counted, f"{requests}_count"), total(counted, f"{requests}_sum")
    return {
        "perSecond": round(count / seconds, 2),
        "p50": histogram_quantile(counted, name, 0.5),
        "p99": histogram_quantile(counted, name, 0.99),
        "errors": total(counted, "selm_operator_reconcile_errors_total", missing=0.0),
        "conflicts": total(counted, "selm_operator_status_conflicts_total"),
        "apiRequests": asked,
        "apiRequestP50": histogram_quantile(counted, requests, 0.5),
        "apiRequestP99": histogram_quantile(counted, requests, 0.99),
        "apiShare": round(waited / spent, 3) if spent else None,
    }


def writes_of_runs(records: Mapping[str, RunRecord]) -> Json:
    """Writes of the runs that came to their end, by kind; a watch saw each of them."""
    done = [record for record in records.values() if record.finished]
    totals = [record.writes.total() for record in done]
    kinds = sorted({kind for record in done for kind in record.writes})
    return {
        "runs": len(done),
        "succeeded": sum(record.succeeded for record in done),
        "median": statistics.median(totals) if totals else None,
        "max": max(totals, default=None),
        "byKind": {kind: statistics.median(record.writes[kind] for record in done) for kind in kinds},
    }


def table(figures: Json) -> Table:
    """The figures for a person, beside their goals."""
    shown = Table(title=figures["title"], title_justify="left")
    for heading in ("figure", "value", "goal"):
        shown.add_column(heading, justify="left" if heading == "figure" else "right")
    at, gaps, writes = figures["reconcile"], figures["jobToJob"], figures["writesPerRun"]
    shown.add_row("reconciles", f"{at['perSecond']} /s")
    shown.add_row("reconcile p50 / p99", f"{seconds(at['p50'])} / {seconds(at['p99'])}", "p99 < 1 s")
    shown.add_row("  of it waiting for the API server", percent(at["apiShare"]))
    shown.add_row("API request p50 / p99", f"{seconds(at['apiRequestP50'])} / {seconds(at['apiRequestP99'])}")
    shown.add_row("wait in the queue p50 / p99", f"{seconds(at['queueP50'])} / {seconds(at['queueP99'])}")
    shown.add_row("reconcile errors, conflicts", f"{at['errors']:.0f}, {at['conflicts']:.0f}")
    shown.add_row("Job's end to next Job p50 / p99", f"{seconds(gaps['p50'])} / {seconds(gaps['p99'])}", "p99 < 1 s")
    shown.add_row("  of so many Jobs", str(gaps["count"]))
    memory = figures["operatorMemoryMiB"]
    shown.add_row("operator's memory idle / highest", f"{memory['idle']} / {memory['max']} MiB", "< 512 MiB")
    kinds = ", ".join(f"{kind} {count:g}" for kind, count in writes["byKind"].items())
    goal = f"≤ {figures['writesGoal']}"
    shown.add_row("API writes a run, median (max)", f"{writes['median']} ({writes['max']})", goal)
    shown.add_row("  by kind", kinds or "no run has finished")
    shown.add_row("runs finished (succeeded)", f"{writes['runs']} ({writes['succeeded']})")
    used = figures["cores"]
    shown.add_row("cores: operator", f"{used['operator']}")
    shown.add_row("cores: API server", "elsewhere" if used["apiServer"] is None else f"{used['apiServer']}")
    shown.add_row("cores: the simulated cluster", f"{used['simulator']}")
    shown.add_row("cores: all else on this machine", f"{used['others']}", "0")
    if used["apiServer"] is not None:
        shown.add_row("API server's share of all CPU", percent(figures["apiServerCpuShare"]))
    restart = figures.get("restart")
    if restart:
        shown.add_row("restart: until every run was looked at", seconds(restart["seconds"]))
        shown.add_row("restart: highest memory", f"{restart['memoryMiB']} MiB", "< 512 MiB")
    return shown


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
