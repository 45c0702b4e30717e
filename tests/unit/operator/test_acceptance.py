"""What is refused before any Job is made, with the field, what was found and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from support.operator_world import SETTINGS, World
from support.run_builder import RunBuilder, make_run

CLAIM = {"name": "store", "persistentVolumeClaim": {"claimName": "store"}}
FOLDER = {"name": "store", "emptyDir": {}}


def with_file_store(volume: Mapping[str, object], mount: str, phase: str = "All") -> RunBuilder:
    mounts = [{"name": "store", "mountPath": mount}]
    run = make_run().with_spec(podTemplates=[{"phase": phase, "volumes": [volume], "volumeMounts": mounts}])
    run.spec["artifacts"] = {"uri": "file:///shared/runs"}
    return run


REFUSED = {
    "a schedule beyond the iterations, where the CRD's rule was not in force": (
        make_run().scheduled(7, alpha=0.5),
        "InvalidSpec",
        "spec.schedule",
    ),
    "a batch that the GPUs of the limits do not divide": (
        make_run().with_nodes(1, gpus=3),
        "InvalidSpec",
        "spec.training.batchSize",
    ),
    "a field that is no field": (make_run().with_spec(training={"lerningRate": 1e-6}), "InvalidSpec", "lerningRate"),
    "a quoted number": (make_run().with_spec(training={"learningRate": "1e-6"}), "InvalidSpec", "learningRate"),
    "a file store without a volume": (
        with_file_store(CLAIM, "/elsewhere"),
        "VolumeMissing",
        "spec.artifacts.uri: is file:///shared/runs, but pods of Preparation have no volume",
    ),
    "a file store on a volume that does not outlive the pod": (with_file_store(FOLDER, "/shared"), "VolumeMissing", ""),
    "a file store that only one phase mounts": (
        with_file_store(CLAIM, "/shared", "Preparation"),
        "VolumeMissing",
        "pods of Generation",
    ),
}


@pytest.mark.parametrize(("run", "reason", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_it_is_refused_before_any_job(run: RunBuilder, reason: str, words: str) -> None:
    world = World(run)
    await world.settle()
    accepted = world.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", reason)
    assert words in accepted["message"]
    assert world.is_("Stalled") == ("True", accepted["reason"])
    assert world.condition("Succeeded")["status"] == "Unknown"
    assert world.condition("Succeeded")["message"] == accepted["message"]
    assert not world.cluster.jobs()


async def test_a_setting_that_is_not_built_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (("spec.seed", "`seed`", lambda _: "seeds are not built yet"),)
    monkeypatch.setattr("selm_operator.api.support.TABLE", table)
    await test_it_is_refused_before_any_job(make_run(), "NotYetSupported", "spec.seed: seeds are not built yet")


ACCEPTED = {
    "the smallest run": make_run(),
    "a file store on a claim at the path": with_file_store(CLAIM, "/shared/runs"),
    "a file store on a claim above the path": with_file_store(CLAIM, "/shared"),
}


@pytest.mark.parametrize("run", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_it_is_accepted(run: RunBuilder) -> None:
    world = World(run)
    await world.settle()
    assert world.is_("Accepted") == ("True", "Accepted")
    assert world.job_name == "tiny-i0-prep-a1"


async def test_a_file_store_needs_no_volume_where_paths_are_shared() -> None:
    run = make_run()
    run.spec["artifacts"] = {"uri": "file:///shared/runs"}
    world = World(run, replace(SETTINGS, shared_paths=True))
    await world.settle()
    assert world.is_("Accepted")[0] == "True"


async def test_without_any_image_it_is_refused_and_naming_one_repairs_it() -> None:
    world = World(make_run(), replace(SETTINGS, runtime_image=None))
    await world.settle()
    assert world.is_("Accepted") == ("False", "ImageMissing")
    assert world.condition("Accepted")["message"].startswith("spec.image: is absent")
    world.change(image="registry.example.org/selm:1")
    await world.settle()
    assert world.job["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.org/selm:1"


async def test_engine_args_that_change_while_the_run_goes_on_are_not_obeyed() -> None:
    world = World(make_run().with_spec(generation={"engineArgs": {"max_num_seqs": 1}}))
    await world.settle()
    world.change(generation={"engineArgs": {"block_size": 16}})
    await world.settle()
    assert world.is_("Accepted") == ("False", "ImmutableFieldChanged")
    world.complete()
    await world.settle()
    assert not world.active_jobs()
    world.change(generation={"engineArgs": {"max_num_seqs": 1}})
    await world.settle()
    assert world.is_("Accepted")[0] == "True"
    assert world.job_name == "tiny-i0-eval-a1"


async def test_engine_args_may_change_with_the_resume_of_a_suspended_run() -> None:
    world = World(make_run())
    name = (await world.reach("Generation"))["metadata"]["name"]
    digest = world.status["engineArgsDigest"]
    world.change(suspend=True)
    await world.settle()
    world.remove(name)
    await world.settle()
    world.change(suspend=False, generation={"engineArgs": {"gpu_memory_utilization": 0.8}})
    await world.settle()
    assert world.is_("Accepted")[0] == "True"
    assert world.status["engineArgsDigest"] != digest
    assert world.job_name == "tiny-i1-gen-a2"


async def test_a_finished_run_is_not_unfinished_by_a_spec_that_is_refused_today() -> None:
    world = World(make_run())
    await world.finish()
    world.change(training={"nonsense": 1})
    await world.settle()
    assert world.is_("Succeeded") == ("True", "Succeeded")
    assert world.is_("Accepted") == ("False", "InvalidSpec")
