"""Real engines in processes of their own: two models in one pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.engine import KEPT
from selm_runtime.generate import shard
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def generate(world: PhaseWorld, **generation: Any) -> Manifest:
    settings: dict[str, Any] = {"generation": generation, "training": {"reference": "Initial"}}
    with world.context(Phase.GENERATION, 2, **settings) as ctx:
        shard.run_shard(ctx)
        manifest = ctx.folder.committed()
    assert manifest is not None
    return manifest


def test_two_models_of_a_pod_answer_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KEPT:
        monkeypatch.setenv(variable, str(tmp_path / "kept"))
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    models = [make_tiny_model(tmp_path / f"model-{seed}", seed=seed) for seed in (0, 1)]
    world = PhaseWorld(tmp_path)
    world.prepare(models[0], preference_rows(20), preference_rows(2, seed=1))
    world.commit_model(models[1], 1)
    manifest = generate(world, policies=["Current", "Reference"])
    served = [event["model"] for event in world.events("stage") if "engine" in event]
    assert sorted(served) == ["Preparation-0", "Training-1"]
    assert len(manifest.files) == 6


def test_an_engine_over_two_devices_answers_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensor parallel, on the CPU back end: two worker processes hold half of each layer."""
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # else vLLM wants a NUMA node a worker
    model = make_tiny_model(tmp_path / "model")
    answers = []
    for size in (1, 2):
        (tmp_path / str(size)).mkdir()
        world = PhaseWorld(tmp_path / str(size))
        world.prepare(model, preference_rows(20), preference_rows(2, seed=1))
        settings = {"temperature": 0.0, "samplesPerPrompt": 1, "tensorParallelSize": size}
        with world.context(Phase.GENERATION, 1, generation=settings) as ctx:
            shard.run_shard(ctx)
            manifest = ctx.folder.committed()
            assert manifest is not None
            tables = [ctx.folder.read_table(manifest, entry.name) for entry in manifest.files]
        answers.append([row["response_ids"] for table in tables for row in table.to_pylist()])
    assert len(answers[0]) == 20
    assert answers[1] == answers[0]
