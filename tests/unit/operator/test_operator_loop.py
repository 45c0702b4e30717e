"""The whole loop, with phases that do nothing: a run from its creation to its end against a cluster in memory."""

from __future__ import annotations

import json

import pytest

from selm_operator.reconcile import StatusPruned, lost_fields
from support.fake_cluster import Json, digest
from support.operator_world import World
from support.run_builder import make_run


async def test_a_run_of_two_iterations_makes_its_jobs_in_order_and_succeeds() -> None:
    world = World(make_run().with_iterations(2))
    assert await world.finish() == [
        "tiny-i0-prep-a1",
        "tiny-i0-eval-a1",
        "tiny-i1-gen-a1",
        "tiny-i1-score-a1",
        "tiny-i1-train-a1",
        "tiny-i1-eval-a1",
        "tiny-i2-gen-a1",
        "tiny-i2-score-a1",
        "tiny-i2-train-a1",
        "tiny-i2-eval-a1",
    ]
    assert world.is_("Succeeded") == ("True", "Succeeded")
    assert world.current == {
        "iteration": 2,
        "phase": "Evaluation",
        "attempt": 1,
        "jobName": "tiny-i2-eval-a1",
        "schedule": {},
    }


async def test_offline_pairs_skip_generation_and_scoring() -> None:
    world = World(make_run().with_iterations(2).offline(1))
    names = await world.finish()
    assert names[2:5] == ["tiny-i1-train-a1", "tiny-i1-eval-a1", "tiny-i2-gen-a1"]
    states = {p["phase"]: p["state"] for p in world.status["iterations"][1]["phases"]}
    assert states == {"Generation": "Skipped", "Scoring": "Skipped", "Training": "Succeeded", "Evaluation": "Succeeded"}


async def test_three_iterations_cost_at_most_48_writes() -> None:
    world = World(make_run().with_iterations(3))
    await world.finish()
    writes = [entry for entry in world.cluster.log if entry[1] != "events"]
    assert len(writes) <= 48, len(writes)


async def test_a_look_that_opens_an_iteration_makes_no_job() -> None:
    world = World(make_run().with_iterations(2))
    await world.reach("Evaluation")
    world.complete()
    look = world.reconciler
    await look(("default", "tiny"))
    assert world.current == {"iteration": 2, "phase": "Generation", "schedule": {}}
    assert not world.active_jobs()
    await look(("default", "tiny"))
    assert world.job_name == "tiny-i2-gen-a1"


async def test_a_phase_is_told_of_every_manifest_before_it() -> None:
    world = World(make_run())
    job = await world.reach("Training")
    config = json.loads(job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])
    assert [(c["iteration"], c["phase"], c["manifest"]) for c in config["committed"]] == [
        (0, "Preparation", digest("tiny-i0-prep-a1")),
        (0, "Evaluation", digest("tiny-i0-eval-a1")),
        (1, "Generation", digest("tiny-i1-gen-a1")),
        (1, "Scoring", digest("tiny-i1-score-a1")),
    ]


async def test_the_digest_is_that_of_the_lowest_index_that_reports_one() -> None:
    world = World(make_run().with_shards(3))
    name = (await world.reach("Generation"))["metadata"]["name"]
    world.cluster.end_job(
        name, {0: (0, {}), 1: (0, {"manifest": digest("one")}), 2: (0, {"manifest": digest("two"), "rows": 4})}
    )
    await world.settle()
    assert world.phase(1, "Generation")["manifestDigest"] == digest("one")


async def test_evaluation_tells_metrics_best_iteration_and_model() -> None:
    world = World(make_run())
    await world.reach("Evaluation")
    world.complete(metrics={"meanReward": 0.7512345678, "kl": 1.5}, bestIteration=1, modelURI="s3://selm/runs/x/model")
    await world.settle()
    assert world.phase(1, "Evaluation")["metrics"] == [
        {"name": "kl", "value": 1.5},
        {"name": "meanReward", "value": 0.751235},
    ]
    assert (world.status["bestIteration"], world.status["modelURI"]) == (1, "s3://selm/runs/x/model")
    assert (
        world.condition("Succeeded")["message"]
        == "the iteration is done; the best is iteration 1: s3://selm/runs/x/model"
    )


async def test_gpu_seconds_are_gpus_times_the_time_of_all_attempts() -> None:
    world = World(make_run().with_nodes(2, gpus=4))
    await world.reach("Training")
    world.cluster.sleep(100)
    world.end(1, 1)
    await world.after(0)
    await world.after(10)
    world.complete()
    await world.settle()
    assert world.phase(1, "Training")["gpuSeconds"] == 2 * 4 * (100 + 60)
    assert world.status["gpuSeconds"] == 2 * 4 * (100 + 60)


async def test_a_finished_run_stays_finished_when_its_jobs_are_gone() -> None:
    world = World(make_run())
    for name in await world.finish():
        world.remove(name)
    before = world.cluster.run("tiny")
    await world.after(10_000)
    assert world.is_("Succeeded") == ("True", "Succeeded")
    assert world.cluster.run("tiny")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert not world.active_jobs()


async def test_raising_the_iterations_takes_a_finished_run_up_again() -> None:
    world = World(make_run())
    await world.finish()
    world.change(iterations=2)
    names = await world.finish()
    assert names[0] == "tiny-i2-gen-a1"
    assert world.is_("Succeeded") == ("True", "Succeeded")


async def test_a_run_being_deleted_gets_no_more_effects() -> None:
    world = World(make_run())
    await world.reach("Generation")
    world.complete()
    world.cluster.run("tiny")["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z"
    writes = len(world.cluster.log)
    await world.settle()
    assert len(world.cluster.log) == writes


async def test_shards_done_are_told_in_few_steps() -> None:
    world = World(make_run().with_shards(16))
    name = (await world.reach("Generation"))["metadata"]["name"]
    told = []
    for done in range(1, 16):
        world.cluster.job(name).setdefault("status", {})["succeeded"] = done
        await world.settle()
        told.append(world.current["shards"]["done"])
    assert told == [0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14]
    assert world.condition("Reconciling")["message"] == "Generation of iteration 1 is at work, 14 of 16 shards done"


async def test_a_crd_that_is_older_than_the_operator_is_named_and_not_worked_against_in_silence() -> None:
    def prune(status: Json) -> None:
        status.get("current", {}).pop("schedule", None)

    world = World(make_run())
    world.cluster.prune = prune
    with pytest.raises(StatusPruned, match=r"dropped status\.current\.schedule: apply the CRD"):
        await world.settle()


def test_fields_that_were_not_kept_are_told_by_their_paths() -> None:
    written = {"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": 4}]}}
    assert lost_fields(written, written) == []
    assert lost_fields(written, {"b": {"d": [{"e": 3}], "x": 1}}) == ["status.a", "status.b.c", "status.b.d[0].f"]
