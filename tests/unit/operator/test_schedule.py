"""Changes of the schedule: a changed entry reaches the phases that are not committed, and a warning says what it misses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from selm_operator.kube import Json
from support.operator_world import World
from support.run_builder import make_run


def config_of(job: Json) -> Json:
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    config: Json = json.loads(next(e["value"] for e in env if e["name"] == "SELM_PHASE_CONFIG"))
    return config


def warnings(world: World) -> list[str]:
    found = [o for (plural, _, _), o in world.cluster.objects.items() if plural == "events"]
    return [e["note"] for e in found if e["reason"] == "ScheduleWithoutEffect"]


async def rested_in(phase: str, **entry: Any) -> World:
    """A run at rest in a phase of iteration 1, whose schedule has this entry."""
    world = World(make_run().with_iterations(2).scheduled(1, **entry) if entry else make_run().with_iterations(2))
    name = (await world.reach(phase))["metadata"]["name"]
    world.change(suspend=True)
    await world.settle()
    world.remove(name)
    await world.settle()
    return world


@dataclass(frozen=True)
class Change:
    """In which phase the run rests, what the entry was and becomes, and what the next Job's config has."""

    phase: str
    after: Json
    next_job: str
    config: dict[str, Any]
    before: Json | None = None
    warned: tuple[str, ...] = ()


CHANGES = {
    "the temperature, before Generation is committed": Change(
        "Generation", {"temperature": 0.7}, "tiny-i1-gen-a2", {"generation.temperature": 0.7}
    ),
    "the temperature, after it": Change(
        "Scoring",
        {"temperature": 0.7},
        "tiny-i1-score-a2",
        {"generation.temperature": 0.0},
        warned=("temperature of iteration 1 is 0.7 now",),
    ),
    "the temperature back to the phase's own, after it": Change(
        "Scoring",
        {},
        "tiny-i1-score-a2",
        {"generation.temperature": 0.7},
        before={"temperature": 0.7},
        warned=(
            "temperature of iteration 1 is left to the phase's own setting now, but what it changes is committed, made "
            "with 0.7",
        ),
    ),
    "the learning rate, before Training is committed": Change(
        "Training", {"learningRate": 1e-7}, "tiny-i1-train-a2", {"training.learningRate": 1e-7}
    ),
    "both, between the two": Change(
        "Training",
        {"learningRate": 1e-7, "temperature": 0.7},
        "tiny-i1-train-a2",
        {"training.learningRate": 1e-7, "generation.temperature": 0.0},
        warned=("temperature of iteration 1",),
    ),
    "α and β, after Training is committed": Change(
        "Evaluation",
        {"alpha": 0.5, "beta": 0.2},
        "tiny-i1-eval-a2",
        {"training.objective.alpha": 0.001, "training.objective.beta": 0.01},
        warned=("alpha of iteration 1 is 0.5 now", "beta of iteration 1 is 0.2 now"),
    ),
    "offline pairs, while it generates: what is left of that is skipped": Change(
        "Generation", {"pairs": "Offline"}, "tiny-i1-train-a1", {"training.pairs": "Offline"}
    ),
    "offline pairs, after Training": Change(
        "Evaluation",
        {"pairs": "Offline"},
        "tiny-i1-eval-a2",
        {"training.pairs": "Online"},
        warned=("pairs of iteration 1 is Offline now",),
    ),
    "online pairs, after an offline iteration began: it does not go back": Change(
        "Training",
        {},
        "tiny-i1-train-a2",
        {"training.pairs": "Offline"},
        before={"pairs": "Offline"},
        warned=("pairs of iteration 1",),
    ),
}


def at(config: Json, path: str) -> Any:
    for step in path.split("."):
        config = config[step]
    return config


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_of_the_iteration_at_work(change: Change) -> None:
    world = await rested_in(change.phase, **(change.before or {}))
    world.change(suspend=False, schedule=[{"iteration": 1, **change.after}] if change.after else [])
    await world.settle()
    assert world.job_name == change.next_job
    config = config_of(world.job)
    assert {path: at(config, path) for path in change.config} == change.config
    found = warnings(world)
    assert len(found) == len(change.warned)
    for words, note in zip(change.warned, found, strict=True):
        assert words in note
    await world.settle()
    assert warnings(world) == found, "told once"


async def test_an_iteration_that_turns_offline_skips_and_finishes() -> None:
    world = await rested_in("Generation")
    world.change(suspend=False, schedule=[{"iteration": 1, "pairs": "Offline"}])
    names = await world.finish()
    assert names[:3] == ["tiny-i1-train-a1", "tiny-i1-eval-a1", "tiny-i2-gen-a1"]
    assert [world.phase(1, phase)["state"] for phase in ("Generation", "Scoring", "Training")] == [
        "Skipped",
        "Skipped",
        "Succeeded",
    ]


async def test_an_iteration_that_is_ahead_takes_the_entry_as_it_is_when_it_begins() -> None:
    world = World(make_run().with_iterations(2))
    await world.reach("Training")
    world.change(schedule=[{"iteration": 2, "temperature": 0.5, "learningRate": 1e-7}])
    job = await world.reach("Generation", 2)
    assert at(config_of(job), "generation.temperature") == 0.5
    assert world.current["schedule"] == {"temperature": 0.5, "learningRate": 1e-7}
    assert warnings(world) == []


async def test_a_job_at_work_is_committed_as_what_it_was_made_with_whatever_the_spec_says_meanwhile() -> None:
    """Where the CRD's rules were not in force."""
    world = World(make_run().scheduled(1, temperature=0.5))
    await world.reach("Generation")
    world.change(schedule=[{"iteration": 1, "temperature": 0.9}])
    await world.settle()
    assert world.current["schedule"] == {"temperature": 0.5}
    world.complete()
    await world.settle()
    assert at(config_of(world.job), "generation.temperature") == 0.5
