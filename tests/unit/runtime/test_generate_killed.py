"""A shard that is killed at any step of its engine: what is asked again, and whose digests are promised to be equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from selm_runtime.artifacts.manifest import Manifest
from selm_runtime.contract import Phase
from selm_runtime.engine import Request
from selm_runtime.generate import shard
from support.fake_engine import FakeEngine
from support.phase_world import PhaseWorld
from support.tiny_model import make_tiny_model, preference_rows

ROWS = 20  # three chunks, of 16, 16 and 8 requests
LARGEST_CHUNK = 16


class Killed(BaseException):
    """The process is gone: nothing may handle it."""


class MoodyEngine(FakeEngine):
    """What it answers depends on how many requests it was asked since it was last cold, as batches change last bits."""

    def __init__(self, kill_at: int | None = None) -> None:
        super().__init__(on_step=self._count)
        self.steps = 0
        self._kill_at = kill_at
        self._since_cold = 0
        self._moods: dict[str, int] = {}

    def _count(self) -> None:
        self.steps += 1
        if self.steps == self._kill_at:
            raise Killed

    def submit(self, request: Request) -> None:
        self._moods[request.key] = self._since_cold
        self._since_cold += 1
        super().submit(request)

    def forget(self) -> None:
        super().forget()
        self._since_cold = 0

    def answer(self, request: Request) -> Sequence[int]:
        self._model_salt = str(self._moods[request.key])
        return super().answer(request)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELM_CACHE_DIR", str(tmp_path / "cache"))


def attempt(world: PhaseWorld, engine: FakeEngine, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "start_engine", lambda *_: engine)
    with world.context(Phase.GENERATION, 1, attempt=number) as ctx:
        shard.run_shard(ctx)


def killed_at(
    step: int | None, root: Path, model: Path, monkeypatch: pytest.MonkeyPatch, *, reproducible: bool
) -> tuple[Manifest, Counter[int], int]:
    """The phase after a kill at that step and a second attempt; how often each request was asked; the first's steps."""
    root.mkdir()
    world = PhaseWorld(root, generation={"reproducible": reproducible})
    world.prepare(model, preference_rows(ROWS), preference_rows(3, seed=1))
    first, second = MoodyEngine(step), MoodyEngine()
    if step is None:
        attempt(world, first, 1, monkeypatch)
    else:
        with pytest.raises(Killed):
            attempt(world, first, 1, monkeypatch)
        attempt(world, second, 2, monkeypatch)
    with world.context(Phase.GENERATION, 1) as ctx:
        manifest = ctx.folder.committed()
    assert manifest is not None
    assert manifest.rows == ROWS * 2
    return manifest, Counter(request.seed for request in [*first.asked, *second.asked]), first.steps


@pytest.mark.parametrize("part", [0.01, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_reproducible_shard_repeats_at_most_one_chunk_and_ends_with_the_same_tokens(
    part: float, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, asked, steps = killed_at(None, tmp_path / "whole", model, monkeypatch, reproducible=True)
    assert set(asked.values()) == {1}
    step = max(1, round(part * steps))
    again, repeated, _ = killed_at(step, tmp_path / "killed", model, monkeypatch, reproducible=True)
    assert again.content_digest == whole.content_digest
    assert repeated.keys() == asked.keys()
    twice = [seed for seed, times in repeated.items() if times > 1]
    assert max(repeated.values()) == 2
    assert len(twice) <= LARGEST_CHUNK


def test_one_that_never_drains_makes_every_row_once_and_promises_no_equal_tokens(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, asked, steps = killed_at(None, tmp_path / "whole", model, monkeypatch, reproducible=False)
    again, repeated, _ = killed_at(round(0.7 * steps), tmp_path / "killed", model, monkeypatch, reproducible=False)
    assert repeated.keys() == asked.keys()
    assert again.rows == whole.rows
    assert again.content_digest != whole.content_digest
