"""What the operator counts, as Prometheus metrics in a registry of its own; docs/metrics.md is their reference.

Names that begin with `selm_operator_` are about the process, the others about the runs. Series with a run's name live as
long as the run: `forget` removes them, so their number is bounded by the runs that exist.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from selm_operator.decision import Settled
from selm_operator.jobs_watch import RunKey

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

# ---- the process ---------------------------------------------------------------------------------------------------
LEADER = Gauge("selm_operator_leader", "1 while this process holds the Lease.", registry=REGISTRY)
RECONCILE_SECONDS = Histogram(
    "selm_operator_reconcile_duration_seconds",
    "Seconds of one reconcile of one run.",
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RECONCILE_ERRORS = Counter(
    "selm_operator_reconcile_errors_total", "Reconciles that raised, by the error.", ["error"], registry=REGISTRY
)
STATUS_CONFLICTS = Counter(
    "selm_operator_status_conflicts_total", "Status writes lost to a newer version of the run.", registry=REGISTRY
)
API_WRITES = Counter(
    "selm_operator_api_writes_total",
    "Writes to the API server by kind, events and the Lease apart.",
    ["kind"],
    registry=REGISTRY,
)
API_REQUEST_SECONDS = Histogram(
    "selm_operator_api_request_duration_seconds",
    "Seconds until the API server's answer was read, by HTTP method; watches apart.",
    ["method"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
QUEUE_LENGTH = Gauge("selm_operator_queue_length", "Runs that are due and wait for a worker.", registry=REGISTRY)
QUEUE_WAIT_SECONDS = Histogram(
    "selm_operator_queue_wait_seconds",
    "Seconds between the time that a look at a run was due and its begin.",
    registry=REGISTRY,
    buckets=(0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
NEXT_JOB_SECONDS = Histogram(
    "selm_operator_next_job_seconds",
    "Seconds from the end of a phase's Job to the creation of the next phase's, in whole seconds as Jobs tell them.",
    registry=REGISTRY,
    buckets=(1, 2, 3, 5, 10, 20, 30, 60, 300),
)

# ---- the runs ------------------------------------------------------------------------------------------------------
PHASE_SECONDS = Histogram(
    "selm_phase_duration_seconds",
    "Seconds of committed phases, from the first Job to the commit.",
    ["phase"],
    registry=REGISTRY,
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 172800),
)
ATTEMPTS = Counter(
    "selm_attempts_total", "Attempts of phases that ended, by phase and reason.", ["phase", "reason"], registry=REGISTRY
)
GPU_SECONDS = Counter(
    "selm_gpu_seconds_total",
    "GPUs times seconds of ended attempts, by run, phase and outcome (Committed, Kept, Wasted).",
    ["namespace", "run", "phase", "outcome"],
    registry=REGISTRY,
)


class RunsCollector(Collector):
    """`selm_runs`: counted when it is asked for, from what the last look at each run found."""

    def __init__(self) -> None:
        self._found: dict[RunKey, tuple[str, str]] = {}

    def note(self, key: RunKey, phase: str, reason: str) -> None:
        self._found[key] = (phase, reason)

    def forget(self, key: RunKey) -> None:
        self._found.pop(key, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "selm_runs", "Runs by the phase at work and the reason of Succeeded.", labels=["phase", "reason"]
        )
        for labels, count in sorted(Tally(self._found.values()).items()):
            family.add_metric(labels, count)
        yield family


RUNS_BY_PHASE = RunsCollector()
REGISTRY.register(RUNS_BY_PHASE)


def count_settled(key: RunKey, settled: Settled) -> None:
    """An attempt whose end is in the book now. Called once the status is written: a lost write is not counted."""
    if settled.reason is not None:
        ATTEMPTS.labels(settled.phase, settled.reason).inc()
    if settled.gpu_seconds:
        GPU_SECONDS.labels(*key, settled.phase, settled.outcome).inc(settled.gpu_seconds)
    if settled.phase_seconds is not None:
        PHASE_SECONDS.labels(settled.phase).observe(settled.phase_seconds)


def count_answer(method: str, seconds: float) -> None:
    """A request to the API server has ended."""
    API_REQUEST_SECONDS.labels(method).observe(seconds)


def forget(key: RunKey) -> None:
    """The run is no more: neither are its series."""
    RUNS_BY_PHASE.forget(key)
    GPU_SECONDS.remove_by_labels({"namespace": key[0], "run": key[1]})
