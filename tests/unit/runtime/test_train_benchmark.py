"""The training benchmark's own contender is the product's trainer, and its products are counted right."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import train_arithmetic
import train_world
from train_world import BenchPair

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_ours_is_the_products_training_measured_by_its_own_stages(tmp_path: Path) -> None:
    arguments = ("--preset", "tiny", "--pairs", "16", "--rounds", "1", "--threads", "1", "--no-check")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "train.py", *arguments, "--only", "ours-selm", "--json", tmp_path / "found.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((tmp_path / "found.json").read_text())["runs"]["ours-selm"]
    first, second = run["losses"]
    assert first == pytest.approx(math.log(2), abs=1e-6)
    assert second != first
    assert run["reference_seconds"] > 0
    assert run["step_seconds"] > 0
    assert run["peak_bytes"] > 0


def test_products_of_a_padded_batch_and_of_distinct_tokens(tmp_path: Path) -> None:
    settings = train_world.Settings(preset="tiny", pairs=2, batch_size=2)
    train_world.prepare(settings, tmp_path)
    pairs = [BenchPair([2] * 3, [3] * 5, [4] * 4, [3] * 5), BenchPair([2] * 10, [3] * 2, [4] * 1, [5] * 6)]
    (tmp_path / "pairs.json").write_text(json.dumps([vars(pair) for pair in pairs]))
    assert train_arithmetic.padded(pairs, 2) == [(12, 12)] * 4
    assert train_arithmetic.padded(pairs, 1) == [(8, 8)] * 2 + [(12, 12)] * 2
    assert train_arithmetic.padded(pairs, 2, explored=True) == [(16, 16)] * 2
    found, (body, head) = train_arithmetic.allowed(tmp_path, settings), train_world.body_and_head(tmp_path)
    width = 2 * 4 * 16  # layers, heads, a head's width
    attended = (3 * 4 + 2 * 15 + 5 * 6 + 2 * 12 + 4 * 5) + (10 * 11 + 2 * 20 + 2 * 3 + 2 * 10 + 1 * 2)
    explored = attended + 2 * 60 + 6 * 7
    assert found["ours-dpo"] == 4 * (body * 25 + width * attended + head * 12)
    assert found["ours-selm"] == 4 * (body * 31 + width * explored + head * 18)
    assert found["trl-default"] == 4 * (5 * (body * 12 + width * 12 * 13) + 5 * head * 12)
