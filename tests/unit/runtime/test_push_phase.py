"""The Push phase on a run whose models and evaluations are committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.errors import InvalidInput
from selm_runtime.phase import run_phase
from selm_runtime.push.targets import LIST
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows


class Pushing:
    """Two trained iterations, of which evaluation picks `best`."""

    def __init__(self, root: Path, *, best: int = 1) -> None:
        self.world = PhaseWorld(root)
        self.target = root / "pushed"
        self.models = [make_tiny_model(root / f"model-{t}", seed=t) for t in range(3)]
        self.world.prepare(self.models[0], preference_rows(8), preference_rows(2, seed=1))
        self._evaluate(0, {})
        for iteration in (1, 2):
            self.world.commit_model(self.models[iteration], iteration)
            self._evaluate(iteration, {"bestIteration": best})

    def _evaluate(self, iteration: int, facts: dict[str, Any]) -> None:
        with self.world.context(Phase.EVALUATION, iteration) as ctx:
            self.world.record(ctx.folder.commit({}, rows=2, metrics={"meanReward": 0.5 + iteration}, facts=facts))

    def push(self, *, attempt: int = 1, retention: str = "KeepAll", **push: Any) -> Manifest:
        settings = {"uri": f"file://{self.target}", "recipe": {"seed": 7}, **push}
        with self.world.context(Phase.PUSH, 2, push=settings, attempt=attempt, retention=retention) as ctx:
            run_phase(ctx)
            manifest = ctx.folder.committed()
        assert manifest is not None
        return manifest

    def pushed(self) -> int:
        """The iteration whose weights are at the target."""
        weights = [(model / "model.safetensors").read_bytes() for model in self.models]
        return weights.index((self.target / "model.safetensors").read_bytes())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Pushing:
    return Pushing(tmp_path_factory.mktemp("push"))


def test_the_best_model_goes_with_its_card_and_is_committed(run: Pushing) -> None:
    manifest = run.push()
    assert run.pushed() == 1
    assert manifest.facts["iteration"] == 1
    assert manifest.facts["uri"] == f"file://{run.target}"
    assert [entry.name for entry in manifest.files] == ["README.md"]
    card = (run.target / "README.md").read_text()
    assert "iteration 1" in card
    assert "seed: 7" in card
    assert "| 2 | 2.5 |" in card
    listed = json.loads((run.target / LIST).read_text())
    assert {"README.md", "config.json", "model.safetensors"} <= listed["files"].keys()


def test_a_later_attempt_finds_it_committed_and_sends_nothing(run: Pushing) -> None:
    first = run.push()
    (run.target / "model.safetensors").write_bytes(b"")
    assert run.push(attempt=2) == first
    assert (run.target / "model.safetensors").read_bytes() == b""


def test_the_final_model_where_it_is_asked_for_or_alone_is_kept(tmp_path: Path) -> None:
    final = Pushing(tmp_path / "final")
    final.push(model="Final")
    kept = Pushing(tmp_path / "kept")
    kept.push(retention="KeepLast")
    assert (final.pushed(), kept.pushed()) == (2, 2)


def test_where_nothing_beat_the_base_nothing_is_pushed(tmp_path: Path) -> None:
    run = Pushing(tmp_path, best=0)
    with pytest.raises(InvalidInput, match=r"spec\.push\.model: found Best, but no iteration was better"):
        run.push()
    assert not run.target.exists()


def test_a_target_that_cannot_be_is_refused_by_its_field(tmp_path: Path) -> None:
    run = Pushing(tmp_path)
    with pytest.raises(InvalidInput, match=r"spec\.push\.uri: found 'oci://x/Y'"):
        run.push(uri="oci://x/Y")
