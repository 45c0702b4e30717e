"""A run's phases for the tests of suites: what Evaluation measures beside them is made up, and no engine starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selm_runtime.evaluate import engine, phase
from selm_runtime.evaluate.measures import HeldOutLogProbs
from support.fake_engine import FakeEngine
from support.phase_world import PhaseWorld


def suite_world(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> PhaseWorld:
    monkeypatch.setenv("SELM_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("SELM_TIME_SCALE", "0.001")
    monkeypatch.setattr(engine, "start_engine", lambda *_: FakeEngine())
    measured = [HeldOutLogProbs(row, -1.0, -2.0, 3, None, None) for row in range(4)]
    monkeypatch.setattr(phase, "measure_log_probs", lambda *_: (measured, None))
    return PhaseWorld(folder, **settings)
