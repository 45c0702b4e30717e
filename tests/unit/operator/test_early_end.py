"""`evaluation.stopWhen` ends a run after an iteration, and raising `iterations` takes it further."""

from __future__ import annotations

from typing import Any

import pytest

from selm_operator.kube import Json
from support.fake_cluster import digest
from support.operator_world import World
from support.run_builder import make_run


def world(stop_when: Json, iterations: int = 3) -> World:
    run = make_run().with_iterations(iterations).with_spec(data={"portions": 9})
    return World(run.with_spec(evaluation={"stopWhen": stop_when}))


async def evaluate(world: World, iteration: int, best: int, **metrics: float) -> None:
    """The iteration is done, up to its Evaluation, which finds `best`."""
    await world.reach("Evaluation", iteration)
    world.complete(bestIteration=best, metrics=metrics)
    await world.settle()


async def play(world: World, best: list[int], kl: list[float] | None = None) -> int:
    """Iterations go on as far as the operator lets them, each finding the best so far; how many there were."""
    for iteration, found in enumerate(best, 1):
        await evaluate(world, iteration, found, kl=kl[iteration - 1] if kl else 1.0)
        if not world.active_jobs():
            return iteration
    return len(best)


CASES: dict[str, tuple[Json, list[int], list[float] | None, int, str]] = {
    "gains go on": ({"iterationsWithoutGain": 1}, [1, 2, 3], None, 3, "Succeeded"),
    "the first iteration is no better than the base": ({"iterationsWithoutGain": 1}, [0], None, 1, "StoppedEarly"),
    "one without gain, two are allowed": ({"iterationsWithoutGain": 2}, [1, 1, 3], None, 3, "Succeeded"),
    "two without gain": ({"iterationsWithoutGain": 2}, [0, 0, 0], None, 2, "StoppedEarly"),
    "the divergence is at its bound": ({"maxKL": 5}, [1, 2, 3], [1.0, 5.0, 9.0], 3, "Succeeded"),
    "the divergence is above its bound": ({"maxKL": 5}, [1, 2, 3], [1.0, 5.1, 9.0], 2, "StoppedEarly"),
    "neither is asked for": ({}, [0, 0, 0], [99.0, 99.0, 99.0], 3, "Succeeded"),
}


@pytest.mark.parametrize(("stop_when", "best", "kl", "done", "reason"), CASES.values(), ids=CASES.keys())
async def test_when_a_run_ends(
    stop_when: Json, best: list[int], kl: list[float] | None, done: int, reason: str
) -> None:
    run = world(stop_when)
    assert await play(run, best, kl) == done
    assert run.is_("Succeeded") == ("True", reason)
    assert run.is_("Reconciling")[0] == run.is_("Stalled")[0] == "False"
    assert ("Normal", reason) in run.events()
    assert ("stoppedEarly" in run.status) == (reason == "StoppedEarly")
    assert run.status["iterations"][-1]["iteration"] == run.current["iteration"] == done, "no further one is opened"


async def test_the_message_says_why_and_what_is_best() -> None:
    run = world({"iterationsWithoutGain": 1})
    await play(run, [1, 1])
    message = run.condition("Succeeded")["message"]
    assert "stopped after iteration 2 of 3: 1 iteration brought nothing better than iteration 1" in message
    assert "the best is iteration 1" in message
    far = world({"maxKL": 5})
    await play(far, [1], [7.25])
    assert "is 7.25 nats a response (evaluation.stopWhen.maxKL is 5)" in far.condition("Succeeded")["message"]


async def test_the_base_alone_never_ends_a_run() -> None:
    run = world({"iterationsWithoutGain": 1, "maxKL": 5})
    await run.reach("Evaluation", 0)
    run.complete(bestIteration=0, metrics={"kl": 99.0})
    await run.settle()
    assert run.job["metadata"]["labels"]["selm.dev/phase"] == "Generation"


@pytest.mark.parametrize("change", [{"evaluation": {"stopWhen": {}}}, {"retry": {"maxAttempts": 9}}])
async def test_what_was_stopped_stays_stopped(change: Json) -> None:
    run = world({"iterationsWithoutGain": 1})
    await play(run, [0])
    run.change(**change)
    await run.settle()
    assert (run.is_("Succeeded"), run.active_jobs()) == (("True", "StoppedEarly"), [])


async def test_more_iterations_take_it_further_and_it_counts_anew() -> None:
    run = world({"iterationsWithoutGain": 2})
    await play(run, [0, 0])
    assert run.is_("Succeeded") == ("True", "StoppedEarly")
    run.change(iterations=6)
    await run.settle()
    assert run.is_("Succeeded")[0] == "Unknown"
    await evaluate(run, 3, 0)
    assert run.active_jobs(), "it was let go on for two iterations, and has done one"
    await evaluate(run, 4, 0)
    assert run.is_("Succeeded") == ("True", "StoppedEarly")
    assert run.status["stoppedEarly"] | {"message": ""} == {"iteration": 4, "iterations": 6, "message": ""}


async def test_a_run_that_finished_goes_on_though_its_last_iteration_would_have_stopped_it() -> None:
    run = world({"maxKL": 5}, iterations=1)
    await play(run, [1], [9.0])
    assert run.is_("Succeeded") == ("True", "Succeeded")
    run.change(iterations=2)
    await run.settle()
    assert run.job["metadata"]["labels"]["selm.dev/iteration"] == "2"


async def test_a_bound_that_is_set_while_the_run_is_at_work_holds_for_what_comes() -> None:
    run = world({})
    await evaluate(run, 1, 1, kl=9.0)
    run.change(evaluation={"selectBy": {"metric": "MeanReward"}, "stopWhen": {"maxKL": 5}})
    await run.settle()
    assert run.active_jobs(), "iteration 1 was judged by what held then"
    await evaluate(run, 2, 1, kl=9.0)
    assert run.is_("Succeeded") == ("True", "StoppedEarly")


async def test_a_suspended_run_that_was_stopped_says_both() -> None:
    run = world({"iterationsWithoutGain": 1})
    await run.reach("Evaluation", 1)
    run.change(suspend=True)
    said: dict[str, Any] = {"manifest": digest("e"), "bestIteration": 0}
    run.cluster.end_job(run.job_name, {0: (0, said)})
    await run.settle()
    assert run.is_("Succeeded") == ("True", "StoppedEarly")
    assert run.is_("Suspended")[0] == "True"
