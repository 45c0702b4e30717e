"""Gradients of micro-batches are added in float32 at every ZeRO stage, in both number formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selm_runtime.contract import TrainingConfig
from selm_runtime.train.checkpoint import world_facts
from selm_runtime.train.engine import deepspeed_config
from support.train_world import training_settings

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("precision", ["Float32", "BFloat16"])
def test_small_micro_batches_beside_a_large_one_are_not_lost(precision: str, tmp_path: Path) -> None:
    """In bf16 1 + 0.001 is 1: added there, 64 of them would leave nothing."""
    command = [sys.executable, "-m", "support.accumulation", precision, str(tmp_path / "rendezvous")]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    norms = json.loads(done.stdout.splitlines()[-1])
    assert norms == {str(stage): pytest.approx(8.0 * 1.064, rel=2e-4) for stage in range(4)}


@pytest.mark.parametrize(("precision", "stage", "run"), [("BFloat16", 0, 1), ("Float32", 0, 0), ("BFloat16", 2, 2)])
def test_checkpoints_name_the_stage_that_is_run(precision: str, stage: int, run: int) -> None:
    training = TrainingConfig.model_validate(training_settings(precision=precision, zeroStage=stage))
    assert deepspeed_config(training)["zero_optimization"]["stage"] == run
    assert world_facts(training)["zeroStage"] == run
