"""What the operator counts, as Prometheus metrics in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

RECONCILE_SECONDS = Histogram(
    "selm_operator_reconcile_seconds",
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
    "Writes to the API server, events and the Lease apart.",
    ["kind"],
    registry=REGISTRY,
)
QUEUE_LENGTH = Gauge("selm_operator_queue_length", "Runs that wait for a look.", registry=REGISTRY)
ATTEMPTS_FAILED = Counter(
    "selm_operator_attempts_failed_total",
    "Attempts that failed, by phase and reason.",
    ["phase", "reason"],
    registry=REGISTRY,
)
PHASE_SECONDS = Histogram(
    "selm_operator_phase_seconds",
    "Seconds of committed phases, from the first Job to the commit.",
    ["phase"],
    registry=REGISTRY,
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 172800),
)
GPU_SECONDS = Counter(
    "selm_operator_gpu_seconds_total",
    "GPUs times seconds of ended Jobs, by phase and outcome (committed or wasted).",
    ["phase", "outcome"],
    registry=REGISTRY,
)
