"""Generation in full: two policies, and several engines in a pod, one of which is killed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from support.e2e_runs import make_run, with_fault
from support.lab import Json, Lab, phase_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

XPO: dict[str, Any] = {"objective": {"type": "XPO", "alpha": 0.01}, "reference": "Initial", "nodes": 1}


def engine_calls(records: list[Json]) -> Counter[int]:
    return Counter(record["chunk"] for record in records if record["selm"] == "engine-call")


def sources(lab: Lab, run: Json, iteration: int = 1) -> set[str]:
    """Where the candidates of the pairs come from."""
    pairs = lab.rows(run, iteration, "Scoring", "pairs.parquet")
    return {candidate["source"] for pair in pairs for candidate in pair["candidates"]}


def test_a_killed_engine_process_repeats_one_chunk_and_both_policies_answer(lab: Lab, inputs: dict[str, str]) -> None:
    """Two engines of one pod take the chunks of both policies; the attempt outlives the death of one of them."""
    settings = {"policies": ["Current", "Reference"], "shards": 1, "enginesPerPod": 2}
    run = make_run("two-policies", inputs, generation=settings, training=XPO)
    lab.apply(with_fault(run, "Generation:engine-chunk-done:1"))
    ended = lab.succeeded("two-policies", seconds=900)
    assert phase_status(ended, 1, "Generation")["attempts"] == 1
    records = lab.logs("two-policies-i1-gen-a1")
    (lost,) = [record for record in records if record["selm"] == "engine-lost"]
    chunks = lab.manifest(ended, 1, "Generation")["facts"]["chunks"]
    assert engine_calls(records) == Counter([*range(chunks), *lost["chunks"]])
    assert len(lost["chunks"]) == 1
    assert sources(lab, ended) >= {"Current:0", "Current:1", "Reference:0", "Reference:1"}
    metrics = lab.manifest(ended, 1, "Training")["metrics"]
    assert "exploredLogRatio" in metrics
