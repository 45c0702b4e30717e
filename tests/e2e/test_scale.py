"""The operator's benchmark, small: it still measures, and the operator still writes no more than it may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "operator.py"
RUNS = 20

pytestmark = pytest.mark.e2e


def test_a_small_crowd_of_runs(tmp_path: Path) -> None:
    """All of 20 three-iteration runs end beside 200 foreign Jobs, within the goals for writes and memory."""
    figures_file = tmp_path / "figures.json"
    sizes = {"runs": RUNS, "foreign-jobs": 200, "fast-runs": RUNS, "phase-seconds": 0.3, "start-seconds": 0.1}
    times = {"ramp-seconds": 1, "measure-seconds": 30}
    command = [sys.executable, str(BENCHMARK), "--json", str(figures_file), "--state", str(tmp_path / "state")]
    command += [f"--{name}={value}" for name, value in {**sizes, **times}.items()]
    command += ["--until-finished", "--restart"]
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    figures = json.loads(figures_file.read_text())
    writes = figures["writesPerRun"]
    assert writes["runs"] == writes["succeeded"] == RUNS
    assert writes["max"] <= figures["writesGoal"] == 48
    assert writes["byKind"]["Job"] == 14
    assert figures["jobToJob"]["count"] >= RUNS * 12
    assert 0 < figures["jobToJob"]["p50"] < 5
    assert 0 < figures["reconcile"]["p50"] <= figures["reconcile"]["p99"]
    assert figures["reconcile"]["errors"] == 0
    assert 0 < figures["operatorMemoryMiB"]["idle"] <= figures["operatorMemoryMiB"]["max"] < 512
    assert 0 < figures["apiServerCpuShare"] < 1
    assert figures["restart"]["seconds"] < 30
