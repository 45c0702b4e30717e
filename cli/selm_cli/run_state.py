"""A SELMRun's status as the views need it. Pure: object in, facts out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from selm_runtime.contract import Phase

PHASES: tuple[Phase, ...] = tuple(phase for phase in Phase if phase is not Phase.PUSH)
"""Phases of iterations, which tables show; the push after the last one is in the conditions."""


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time of the API, or None."""
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True)
class PhaseState:
    phase: Phase
    state: str = "Pending"
    attempts: int = 0
    start: datetime | None = None
    completion: datetime | None = None
    manifest: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    gpu_seconds: float = 0.0

    def seconds(self, now: datetime) -> float | None:
        """How long the phase took, or has taken so far; None before its start and where it was skipped."""
        if self.start is None or self.state == "Skipped":
            return None
        return max(0.0, ((self.completion or now) - self.start).total_seconds())


@dataclass(frozen=True)
class RunState:
    namespace: str
    name: str
    uid: str
    spec: dict[str, Any]
    status: dict[str, Any]

    @classmethod
    def of(cls, run: dict[str, Any]) -> RunState:
        meta = run["metadata"]
        return cls(meta.get("namespace", "default"), meta["name"], meta["uid"], run["spec"], run.get("status") or {})

    def condition(self, kind: str) -> dict[str, Any]:
        return next((c for c in self.status.get("conditions", []) if c["type"] == kind), {})

    @property
    def finished(self) -> bool:
        """True once nothing more will happen by itself: succeeded, failed, refused or stalled."""
        return self.succeeded or self.failed

    @property
    def succeeded(self) -> bool:
        return bool(self.condition("Succeeded").get("status") == "True")

    @property
    def failed(self) -> bool:
        refused = self.condition("Accepted").get("status") == "False"
        return bool(refused or self.condition("Succeeded").get("status") == "False")

    @property
    def message(self) -> str:
        accepted = self.condition("Accepted")
        leading = accepted if accepted.get("status") == "False" else self.condition("Succeeded")
        return f"{leading.get('reason', 'Pending')}: {leading.get('message', '')}".rstrip(": ")

    @property
    def iterations(self) -> int:
        return int(self.spec.get("iterations", 3))

    @property
    def current(self) -> dict[str, Any]:
        return dict(self.status.get("current") or {})

    @property
    def best_iteration(self) -> int | None:
        return self.status.get("bestIteration")

    def phase(self, iteration: int, phase: Phase) -> PhaseState:
        for entry in self.status.get("iterations", []):
            if entry["iteration"] != iteration:
                continue
            for p in entry.get("phases", []):
                if p["phase"] == phase:
                    return PhaseState(
                        phase=phase,
                        state=p["state"],
                        attempts=p.get("attempts", 0),
                        start=parse_time(p.get("startTime")),
                        completion=parse_time(p.get("completionTime")),
                        manifest=p.get("manifestDigest"),
                        metrics={m["name"]: m["value"] for m in p.get("metrics", [])},
                        gpu_seconds=p.get("gpuSeconds", 0.0),
                    )
        return PhaseState(phase=phase)

    def has_phase(self, iteration: int, phase: Phase) -> bool:
        """Preparation belongs to iteration 0 alone; generation, scoring and training to the others."""
        if iteration == 0:
            return phase in (Phase.PREPARATION, Phase.EVALUATION)
        return phase is not Phase.PREPARATION
