"""What a training goes on from, and what becomes of the checkpoints that it cannot go on from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.manifest import digest_of
from selm_runtime.contract import CheckpointConfig, PhaseConfig
from selm_runtime.errors import STORE_UNAVAILABLE, TemporaryFailure
from selm_runtime.train.checkpoint import Checkpointer, Progress
from selm_runtime.train.engine import Engine
from selm_runtime.train.job import Stop
from selm_runtime.train.ranks import Ranks
from selm_runtime.train.reference import ReferenceTable
from support.lone_rank import Alone
from support.phase_configs import phase_config
from support.phase_folders import Pod

ON = cast(Stop, SimpleNamespace(requested=False))
TABLE = ReferenceTable({3: (-1.5, -2.5, None)})
KEPT_ONE = CheckpointConfig(interval_seconds=0, keep=1)


class World:
    """Attempts of one training, one after the other, on one store."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.store = FileStore(root / "store")
        self._attempt = 0

    def attempt(self, *, digest: str = "", number: int = 0, **training: Any) -> tuple[Checkpointer, Pod]:
        self._attempt += 1
        config = configured(number or self._attempt, **training)
        more = {"input_digest": digest_of(digest)} if digest else {}
        pod = Pod(self.store, self._root, writer=f"w{self._attempt}", config=config, **more)
        scratch = self._root / f"scratch-{self._attempt}"
        scratch.mkdir()
        return Checkpointer(pod.folder, config.training, cast(Ranks, Alone()), scratch, pod.reporter), pod

    def steps(self, pod: Pod) -> list[int]:
        """Of the checkpoints that can be taken, the newest first."""
        found: list[int] = []
        below: int | None = None
        while (latest := pod.folder.latest_checkpoint(below=below)) is not None:
            found.append(latest.step)
            below = latest.step
        return found

    def objects(self, step: int) -> list[str]:
        place = f"team/run-0001/iter-1/training/checkpoints/{step:08d}/"
        return [info.key for info in self.store.list(place)]


def configured(attempt: int, **training: Any) -> PhaseConfig:
    config = phase_config(phase="Training", iteration=1)
    changed = config.training.model_copy(update={"checkpoint": KEPT_ONE, **training})
    made: PhaseConfig = config.model_copy(update={"training": changed, "attempt": attempt})
    return made


def save(checkpointer: Checkpointer, step: int) -> None:
    engine = SimpleNamespace(save=lambda folder: (folder / "mp_rank_00_state").write_bytes(f"state {step}".encode()))
    checkpointer.begin(cast(Engine, engine), Progress(step, TABLE, [{"loss": 0.5}] * step))
    checkpointer.settle(wait=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("lost", [False, True])
def test_a_checkpoint_that_is_damaged_or_lost_gives_up_its_place(world: World, lost: bool) -> None:
    """Its step comes again, and the new one of that step is the one that is kept."""
    first, _ = world.attempt(checkpoint=CheckpointConfig(interval_seconds=0, keep=2))
    first.commit_reference(TABLE)
    save(first, 2)
    save(first, 4)
    [state] = [key for key in world.objects(4) if key.endswith("state")]
    if lost:
        world.store.delete([state])
    else:
        world.store.put(state, b"stAte 4")

    second, _ = world.attempt()
    restored = second.restore(ON)
    assert restored is not None
    assert restored[0].step == second.committed == 2
    assert world.objects(4) == []
    save(second, 4)
    assert second.committed == 4

    third, pod = world.attempt()
    restored = third.restore(ON)
    assert restored is not None
    assert restored[1] is not None
    assert restored[0] == Progress(4, TABLE, [{"loss": 0.5}] * 4)
    assert [file.read_bytes() for file in restored[1].rglob("*state")] == [b"state 4"]
    assert world.steps(pod) == [4], "keep: 1 is one that can be taken"


def test_a_part_of_the_reference_is_taken_and_gives_way_to_more_of_it(world: World) -> None:
    first, _ = world.attempt()
    first.commit_reference(TABLE, whole=False)
    more = ReferenceTable({**TABLE.sums, 4: (-1.0, -2.0, (-3.0,))})
    second, _ = world.attempt()
    assert second.restore(ON) == (Progress(0, TABLE, [], reference_is_whole=False), None)
    second.commit_reference(more, whole=False)
    third, _ = world.attempt()
    assert third.restore(ON) == (Progress(0, more, [], reference_is_whole=False), None)
    third.commit_reference(more)
    fourth, pod = world.attempt()
    assert fourth.restore(ON) == (Progress(0, more, []), None)
    assert world.steps(pod) == [0]


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("change", [{"nodes": 2}, {"zero_stage": 1}])
def test_another_world_begins_with_the_first_step_and_keeps_the_reference(
    world: World, change: dict[str, Any], keep: int
) -> None:
    first, _ = world.attempt(checkpoint=CheckpointConfig(interval_seconds=0, keep=keep))
    first.commit_reference(TABLE)
    save(first, 2)
    save(first, 4)

    second, pod = world.attempt(**change)
    assert second.restore(ON) == (Progress(0, TABLE, []), None)
    assert world.steps(pod) == [0]
    assert "CheckpointOfAnotherWorld" in pod.lines.getvalue()

    again, _ = world.attempt(**change)
    assert again.restore(ON) == (Progress(0, TABLE, []), None), "killed before its first checkpoint"
    save(again, 2)
    third, _ = world.attempt(**change)
    restored = third.restore(ON)
    assert restored is not None
    assert restored[0].step == 2


def test_those_of_another_input_go_once_training_begins(world: World) -> None:
    before, _ = world.attempt(digest="other learning rate")
    before.commit_reference(TABLE)
    save(before, 500)
    after, _ = world.attempt()
    assert after.restore(ON) is None
    assert world.objects(0) == world.objects(500) == []


def test_a_late_pod_removes_nothing_of_a_later_attempt(world: World) -> None:
    later, pod = world.attempt(number=5)
    later.commit_reference(TABLE)
    save(later, 6)
    late, _ = world.attempt(number=4, digest="other learning rate")
    assert late.restore(ON) is None
    assert world.steps(pod) == [6]


def test_an_upload_under_way_is_another_pods_matter(world: World) -> None:
    later, pod = world.attempt(number=5)
    (pod.scratch / "state").write_bytes(b"state")
    entries = pod.folder.upload_checkpoint(6, {"trainer/history.json": pod.scratch / "state"})
    late, _ = world.attempt(number=4)
    assert late.restore(ON) is None
    pod.folder.commit_checkpoint(6, {}, entries=entries)
    assert world.steps(pod) == [6]
    assert later.committed == 0


def test_the_rows_of_a_reference_outlast_a_store_that_is_away_for_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELM_TIME_SCALE", "0.001")
    first, pod = world.attempt()
    answers, away = world.store.list, [TemporaryFailure(STORE_UNAVAILABLE, "the store does not answer")] * 2

    def sometimes(prefix: str) -> Any:
        if away:
            raise away.pop()
        return answers(prefix)

    monkeypatch.setattr(world.store, "list", sometimes)
    first.commit_reference(TABLE, whole=False)
    assert not away
    assert world.steps(pod) == [0]


def test_nothing_is_removed_where_all_can_be_gone_on_from(world: World) -> None:
    first, _ = world.attempt(checkpoint=CheckpointConfig(interval_seconds=0, keep=3))
    first.commit_reference(TABLE)
    save(first, 2)
    save(first, 4)
    second, pod = world.attempt()
    assert second.restore(ON) is not None
    assert world.steps(pod) == [4, 2, 0]
