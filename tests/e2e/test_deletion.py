"""Deleting a run in any phase leaves no Job, Service, pod or process; artifacts stay."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from support.e2e_runs import make_run
from support.lab import Lab, artifact_prefix

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

# Each run differs from the others just where it must, so that the phases before are found by their input digest.
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("Preparation", 0, {"seed": 101}),
    ("Evaluation", 0, {"seed": 102}),
    ("Generation", 1, {"generation": {"temperature": 0.9}}),
    ("Scoring", 1, {"scoring": {"pairing": {"minMargin": 0.001}}}),
    ("Training", 1, {"training": {"learningRate": 2.0e-4}}),
]


@pytest.mark.parametrize(("phase", "iteration", "changes"), CASES, ids=[case[0] for case in CASES])
def test_deletion_leaves_nothing_but_artifacts(
    lab: Lab, inputs: dict[str, str], phase: str, iteration: int, changes: dict[str, Any]
) -> None:
    name = f"delete-{phase.lower()}"
    lab.apply(make_run(name, inputs, **changes))
    lab.in_phase(name, iteration, phase)
    run = lab.run(name)
    uid = run["metadata"]["uid"]
    kept = {o["Key"] for o in lab.objects(artifact_prefix(run)) if "/manifests/" in o["Key"]}
    lab.kubectl("delete", "selmrun", name, "--timeout=120s")
    for kind in ("jobs", "services", "pods"):
        lab.until(
            f"no {kind} of {name} is left", lambda kind=kind: not lab.items(kind, "-l", f"selm.dev/run-uid={uid}")
        )
    if lab.embedded_state is not None:
        lab.until("no process of the run is left", lambda: not processes(uid), 60)
    assert kept <= {o["Key"] for o in lab.objects(artifact_prefix(run))}


def processes(uid: str) -> list[int]:
    """Processes on this machine whose phase config names the run."""
    found = []
    for process in psutil.process_iter():
        try:
            if uid in process.environ().get("SELM_PHASE_CONFIG", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
