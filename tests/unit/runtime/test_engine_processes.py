"""Real engines in processes of their own: two models in one pod answer as each would alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.generate import shard
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

HIDDEN = ("flask", "flask_cors", "werkzeug", "moto", "selm_local", "support")
"""vLLM looks at every global of every module: Flask's refuse to be looked at. Only tests have both in one process."""


def generate(world: PhaseWorld, **generation: Any) -> Manifest:
    settings: dict[str, Any] = {"generation": generation, "training": {"reference": "Initial"}}
    with world.context(Phase.GENERATION, 2, **settings) as ctx:
        shard.run_shard(ctx)
        manifest = ctx.folder.committed()
    assert manifest is not None
    return manifest


def files(manifest: Manifest) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in manifest.files}


@pytest.mark.parametrize("settings", [{}, {"enginesPerPod": 2}], ids=["one after the other", "at once"])
def test_two_models_answer_as_each_would_alone(
    settings: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "kept"))
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))
    models = [make_tiny_model(tmp_path / f"model-{seed}", seed=seed) for seed in (0, 1)]
    made = []
    for name in ("both", "alone"):
        (tmp_path / name).mkdir()
        world = PhaseWorld(tmp_path / name)
        world.prepare(models[0], preference_rows(20), preference_rows(2, seed=1))
        world.commit_model(models[1], 1)
        made.append(world)
    both = generate(made[0], policies=["Current", "Reference"], **settings)
    served = [event["model"] for event in made[0].events("stage") if "engine" in event]
    assert sorted(served) == ["Preparation-0", "Training-1"]
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in HIDDEN}
    try:
        alone = generate(made[1])
    finally:
        sys.modules.update(hidden)
    assert len(both.files) == 2 * len(alone.files) == 6
    assert files(alone).items() < files(both).items()
