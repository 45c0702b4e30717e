"""`evaluation.control`: the second run, made once and never in another's place, while the run itself goes on."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.api.objective import ObjectiveSpec
from selm_operator.api.validate import validate_spec
from selm_operator.constants import Reason
from selm_operator.kube import RUNS, ApiError, Json, Resource
from selm_operator.manifests.control import build_control
from selm_operator.queue import Again
from selm_operator.snapshot import read_run
from selm_runtime.contract import ObjectiveConfig
from support.fake_cluster import NAMESPACE
from support.kstatus import check_conditions
from support.operator_world import World
from support.run_builder import RunBuilder, make_run

CONTROL = "tiny-control"


def controlled() -> RunBuilder:
    run = make_run().with_iterations(2).with_spec(evaluation={"control": True})
    return run.with_spec(training={"objective": {"type": "SELM", "alpha": 0.01}})


def runs(world: World) -> list[str]:
    return sorted(name for plural, _, name in world.cluster.objects if plural == "selmruns")


def control_is(world: World) -> tuple[str, str]:
    return world.is_("ControlCreated")


def foreign_run(world: World, uid: str | None = "another") -> Json:
    owners = [{"kind": "SELMRun", "name": "other", "uid": uid, "controller": True}] if uid else []
    obj = {"metadata": {"name": CONTROL, "uid": "foreign", "ownerReferences": owners}, "spec": {"theirs": True}}
    return world.cluster.store(RUNS, NAMESPACE, obj)


async def test_it_is_made_once_when_iteration_1_is_scored() -> None:
    world = World(controlled())
    await world.reach("Scoring")
    assert runs(world) == ["tiny"]
    assert control_is(world) == ("False", "ControlWaiting")
    world.complete()
    await world.settle()
    assert runs(world) == ["tiny", CONTROL]
    assert control_is(world) == ("True", "ControlCreated")
    assert world.status["control"] == {"name": CONTROL, "uid": world.cluster.run(CONTROL)["metadata"]["uid"]}
    assert world.job["metadata"]["labels"]["selm.dev/phase"] == "Training"
    assert ("Normal", "ControlCreated") in world.events()
    await world.finish()
    assert world.cluster.log.count(("create", "selmruns", CONTROL)) == 1


async def test_it_is_the_same_run_without_the_exploring_term() -> None:
    run = controlled().scheduled(2, alpha=0.5, learningRate=1e-6).with_spec(generation={"engineArgs": {"seed": None}})
    view = read_run(run.obj() | {"status": {}})
    assert view.spec is not None
    made = build_control(view, view.spec)
    assert validate_spec(made) == []
    control = read_run({**made, "metadata": {**made["metadata"], "uid": "c"}}).spec
    assert control is not None
    assert (control.training.objective.alpha, control.evaluation.control) == (0.0, False)
    assert [(e.iteration, e.alpha, e.learning_rate) for e in control.schedule] == [(2, 0.0, 1e-6)]
    assert control.generation.engine_args == {"seed": None}
    objective = control.training.objective.model_copy(update={"alpha": 0.01})
    schedule = (control.schedule[0].model_copy(update={"alpha": 0.5}),)
    same = {
        "training": control.training.model_copy(update={"objective": objective}),
        "evaluation": control.evaluation.model_copy(update={"control": True}),
        "schedule": schedule,
    }
    assert control.model_copy(update=same) == view.spec
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("tiny-uid", True)
    assert made["metadata"]["labels"]["selm.dev/control-of"] == "tiny"


async def test_it_is_made_though_iteration_1_skips_its_scoring() -> None:
    world = World(controlled().offline(1))
    await world.reach("Training")
    await world.settle()
    assert runs(world) == ["tiny", CONTROL]


async def test_a_post_whose_answer_was_lost_is_not_repeated() -> None:
    world = World(controlled())
    await world.reach("Scoring")
    world.complete()
    lost = 0

    def fault(when: str, verb: str, resource: Resource, name: str) -> None:
        nonlocal lost
        if (when, verb, name) == ("after", "create", CONTROL):
            lost += 1
            raise TimeoutError

    world.cluster.fault = fault
    with pytest.raises(TimeoutError):
        await world.settle()
    await world.settle()
    assert (lost, control_is(world)) == (1, ("True", "ControlCreated"))


async def test_anothers_run_of_that_name_is_named_and_left_alone_and_the_run_goes_on() -> None:
    world = World(controlled())
    foreign = foreign_run(world)
    await world.reach("Training")
    await world.settle()
    assert control_is(world) == ("False", "ControlNameTaken")
    message = world.condition("ControlCreated")["message"]
    assert f"SELMRun {CONTROL} (foreign, owned by SELMRun other (another))" in message
    assert [e for e in world.events() if e[1] == "ControlNameTaken"] == [("Warning", "ControlNameTaken")]
    await world.finish()
    assert world.is_("Succeeded") == ("True", "Succeeded")
    assert world.cluster.run(CONTROL)["spec"] == foreign["spec"] == {"theirs": True}
    check_conditions(world.cluster.run("tiny"), read_run(world.cluster.run("tiny")).status)


async def test_nobodys_run_of_that_name_is_not_taken_for_ours() -> None:
    world = World(controlled())
    foreign_run(world, uid=None)
    await world.reach("Training")
    await world.settle()
    assert control_is(world) == ("False", "ControlNameTaken")
    assert "control" not in world.status


async def test_once_the_name_is_free_it_is_made_even_after_the_runs_end() -> None:
    world = World(controlled())
    foreign_run(world)
    await world.finish()
    world.cluster.remove(RUNS, NAMESPACE, CONTROL)
    await world.after(600)
    assert control_is(world) == ("True", "ControlCreated")


async def test_a_refusal_is_told_and_the_run_goes_on() -> None:
    world = World(controlled())
    await world.reach("Scoring")
    world.complete()

    def fault(when: str, verb: str, resource: Resource, name: str) -> None:
        if (when, verb, name) == ("before", "create", CONTROL):
            raise ApiError(403, "Forbidden", "exceeded quota: runs")

    world.cluster.fault = fault
    assert await world.settle() == Again(600.0)
    assert world.job["metadata"]["labels"]["selm.dev/phase"] == "Training"
    assert control_is(world) == ("False", "ControlRefused")
    assert "exceeded quota: runs" in world.condition("ControlCreated")["message"]
    assert world.is_("Succeeded") == ("Unknown", "Training")
    assert await world.settle() != Again(0.0), "it is asked for in a hot loop"
    world.cluster.fault = lambda *_: None
    await world.after(600)
    assert control_is(world) == ("True", "ControlCreated")


async def test_a_suspended_run_makes_none() -> None:
    world = World(controlled())
    await world.reach("Scoring")
    world.change(suspend=True)
    world.complete()
    await world.settle()
    assert runs(world) == ["tiny"]
    world.change(suspend=False)
    await world.settle()
    assert runs(world) == ["tiny", CONTROL]


async def test_one_that_was_deleted_stays_deleted() -> None:
    world = World(controlled())
    await world.reach("Training")
    await world.settle()
    world.cluster.remove(RUNS, NAMESPACE, CONTROL)
    await world.finish()
    assert runs(world) == ["tiny"]


async def test_it_goes_with_its_run() -> None:
    world = World(controlled())
    await world.reach("Training")
    await world.settle()
    world.cluster.remove(RUNS, NAMESPACE, "tiny")
    assert runs(world) == []


async def test_without_control_there_is_neither_condition_nor_request() -> None:
    world = World(make_run())
    asked: list[Any] = []
    world.cluster.fault = lambda when, verb, resource, name: asked.append((verb, resource.plural, name))
    await world.finish()
    assert all(name != CONTROL for _, _, name in asked)
    assert len(world.status["conditions"]) == 5


REFUSED: dict[str, tuple[RunBuilder, str]] = {
    "an objective without alpha": (
        controlled().with_spec(training={"objective": {"type": "DPO"}}),
        "spec.evaluation.control: may be true only where alpha weighs",
    ),
    "alpha is 0 already": (
        controlled().with_spec(training={"objective": {"alpha": 0}}),
        "spec.evaluation.control: may be true only where alpha is above 0",
    ),
}


@pytest.mark.parametrize(("run", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_control_that_would_be_the_same_run_is_refused(run: RunBuilder, words: str) -> None:
    world = World(run)
    await world.settle()
    assert world.is_("Accepted") == ("False", Reason.INVALID_SPEC)
    assert words in world.condition("Accepted")["message"]


async def test_alpha_of_the_schedule_alone_is_enough() -> None:
    world = World(controlled().with_spec(training={"objective": {"alpha": 0}}).scheduled(2, alpha=0.1))
    await world.settle()
    assert world.is_("Accepted")[0] == "True"


def test_the_objectives_that_alpha_weighs_are_the_runtimes() -> None:
    from selm_runtime.train.objectives.registry import OBJECTIVES

    types = ObjectiveConfig.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
    for name in types:
        assert ObjectiveSpec(type=name).reads_alpha == ("alpha" in OBJECTIVES[name].reads), name
